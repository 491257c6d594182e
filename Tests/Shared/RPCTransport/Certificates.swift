import Foundation
import RPCTransport

/// Certificates made for one test by `openssl`, in a folder that goes with the object.
final class Certificates: Sendable {
  struct Failure: Error { let output: String }

  let folder: String

  init() throws {
    folder = NSTemporaryDirectory() + "certificates-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    try Self.configuration.write(toFile: path("openssl.cnf"), atomically: true, encoding: .utf8)
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private static let configuration = """
    [req]
    distinguished_name=dn
    prompt=no
    [dn]
    CN=test
    [authority]
    basicConstraints=critical,CA:TRUE
    keyUsage=critical,keyCertSign,cRLSign
    [leaf]
    basicConstraints=critical,CA:FALSE
    subjectAltName=DNS:localhost,IP:127.0.0.1
    [elsewhere]
    basicConstraints=critical,CA:FALSE
    subjectAltName=DNS:elsewhere.example,IP:192.0.2.1

    """

  func path(_ name: String) -> String { "\(folder)/\(name)" }

  /// `NAME.pem` and `NAME.key` of somebody who signs.
  func authority(_ name: String) throws {
    try openssl(
      ["req", "-x509"] + Self.newKey + [
        "-config", path("openssl.cnf"), "-extensions", "authority", "-subj", "/CN=\(name)",
        "-days", "1", "-keyout", path("\(name).key"), "-out", path("\(name).pem"),
      ])
  }

  /// `NAME.pem` and `NAME.key` for localhost and 127.0.0.1.
  ///
  /// - Parameter days: until it expires; negative: it has.
  func leaf(_ name: String, by authority: String, days: Int = 1, extensions: String = "leaf") throws {
    try openssl(
      ["req"] + Self.newKey + [
        "-config", path("openssl.cnf"), "-subj", "/CN=\(name)", "-keyout", path("\(name).key"),
        "-out", path("\(name).csr"),
      ])
    try openssl([
      "x509", "-req", "-in", path("\(name).csr"), "-CA", path("\(authority).pem"),
      "-CAkey", path("\(authority).key"), "-CAcreateserial", "-extfile", path("openssl.cnf"),
      "-extensions", extensions, "-days", "\(days)", "-out", path("\(name).pem"),
    ])
  }

  /// The files of one side.
  func files(_ leaf: String? = nil, trusting authority: String? = nil) -> TLSFiles {
    TLSFiles(
      certificate: leaf.map { path("\($0).pem") } ?? "", key: leaf.map { path("\($0).key") } ?? "",
      authorities: authority.map { path("\($0).pem") } ?? "")
  }

  /// Puts one file in another's place, as a renewal does.
  func replace(_ name: String, with other: String) throws {
    let temporary = path("\(name).new")
    try FileManager.default.copyItem(atPath: path(other), toPath: temporary)
    guard rename(temporary, path(name)) == 0 else { throw Failure(output: "cannot rename \(name)") }
  }

  private static let newKey = [
    "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
  ]

  private func openssl(_ arguments: [String]) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = ["openssl"] + arguments
    let output = Pipe()
    process.standardError = output
    process.standardOutput = output
    try process.run()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw Failure(output: text) }
  }
}
