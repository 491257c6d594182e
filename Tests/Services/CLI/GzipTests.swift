import CLI
import Testing

@Suite struct GzipTests {
  let folder: TemporaryFolder
  private let text: String

  init() throws {
    folder = try TemporaryFolder()
    text = "a,b\n" + (1...50_000).map { "\($0),value \($0)\n" }.joined()
  }

  private func read(_ bytes: [UInt8]) throws -> [SourceRow] {
    try rows(of: CSVReader(LineBuffer(FileSource(path: folder.write(bytes)))))
  }

  @Test("A gzip file reads as its content does, whatever its name")
  func content() throws {
    let plain = try read(Array(text.utf8))
    let packed = try read(gzip(Array(text.utf8)))
    #expect(plain.count == 50_000)
    #expect(packed.map(\.bytes) == plain.map(\.bytes))
    #expect(packed.map(\.line) == plain.map(\.line))
  }

  @Test("A file of several members reads through, padding at its end is passed by")
  func members() throws {
    let parts = Array("a,b\n1,".utf8)
    let bytes = gzip(parts) + gzip(Array("2\n3,4\n".utf8)) + [0, 0, 0, 0]
    #expect(try read(bytes).map(\.texts) == [["1", "2"], ["3", "4"]])
  }

  @Test("A file that ends too early is an error, not an end")
  func truncated() throws {
    let packed = gzip(Array(text.utf8))
    #expect(throws: InputError.self) { try read(packed.dropLast(packed.count / 2)) }
  }

  @Test("Damaged data is an error")
  func damaged() throws {
    var packed = gzip(Array(text.utf8))
    for index in 1_000..<1_100 { packed[index] ^= 0x5a }
    #expect(throws: InputError.self) { try read(packed) }
  }
}

extension Array where Element == UInt8 {
  fileprivate func dropLast(_ count: Int) -> [UInt8] { Array(self[..<(self.count - count)]) }
}
