import Foundation
import ServiceKit
import Testing

@Suite("Files of secrets")
struct SecretFileTests {
  private static func withFolder(_ body: (String) throws -> Void) throws {
    let folder = NSTemporaryDirectory() + "secrets-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try body(folder)
  }

  @Test("What is written is read, and only the owner may")
  func roundTrip() throws {
    try Self.withFolder { folder in
      let path = "\(folder)/a.token"
      try SecretFile.write(path, secret: "ff_one")
      try SecretFile.write(path, secret: "ff_two")
      #expect(try SecretFile.read(path) == "ff_two")
      let attributes = try FileManager.default.attributesOfItem(atPath: path)
      #expect((attributes[.posixPermissions] as? NSNumber)?.intValue == 0o600)
      #expect(try FileManager.default.contentsOfDirectory(atPath: folder) == ["a.token"])
    }
  }

  @Test("A file that everybody reads, that is empty, has two words, or is missing, is refused")
  func refused() throws {
    try Self.withFolder { folder in
      let path = "\(folder)/a.token"
      #expect(throws: SecretFile.Problem.self) { try SecretFile.read(path) }
      for text in ["", "\n", "one two", String(repeating: "x", count: 5_000)] {
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        #expect(throws: SecretFile.Problem.self) { try SecretFile.read(path) }
      }
      try "fine".write(toFile: path, atomically: false, encoding: .utf8)
      #expect(try SecretFile.read(path) == "fine")
      try FileManager.default.setAttributes([.posixPermissions: 0o604], ofItemAtPath: path)
      #expect(throws: SecretFile.Problem.self) { try SecretFile.read(path) }
    }
  }
}
