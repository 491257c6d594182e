import CLI
import Testing

@Suite struct CSVReaderTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test(
    "Records are taken apart as RFC 4180 has it",
    arguments: [
      ("a,b\n1,2\n", [["1", "2"]]),
      ("a,b\r\n1,2\r\n", [["1", "2"]]),
      ("a,b\n1,2", [["1", "2"]]),
      ("a,b\n\"1,5\",2\n", [["1,5", "2"]]),
      ("a,b\n\"say \"\"hi\"\"\",2\n", [["say \"hi\"", "2"]]),
      ("a,b\n\"two\nlines\",2\n3,4\n", [["two\nlines", "2"], ["3", "4"]]),
      ("a,b\n\"x\",\"y\"\r\n", [["x", "y"]]),
      ("a,b\n\n1,2\n\n", [["1", "2"]]),
      ("\u{feff}a,b\n1,2\n", [["1", "2"]]),
      ("a,b\n,2\n", [["2"]]),
      ("a,b\n广东,深圳\n", [["广东", "深圳"]]),
    ])
  func records(text: String, expected: [[String]]) throws {
    #expect(try rows(of: folder.reader(text)).map(\.texts) == expected)
  }

  @Test(
    "A broken line is reported and costs nothing but itself",
    arguments: [
      ("a,b\n1\n3,4\n", [["!column_count"], ["3", "4"]]),
      ("a,b\n1,2,3\n3,4\n", [["!column_count"], ["3", "4"]]),
      ("a,b\n1,x\"y\n3,4\n", [["!bad_quotes"], ["3", "4"]]),
      ("a,b\n\"1\"x,2\n3,4\n", [["!bad_quotes"], ["3", "4"]]),
      ("a,b\n\"open,2\n3,4\n5,6\n", [["!bad_quotes"], ["3", "4"], ["5", "6"]]),
      ("a,b\n\"open,2\n3,\"4\"\n", [["!bad_quotes"], ["3", "4"]]),
    ])
  func brokenLines(text: String, expected: [[String]]) throws {
    #expect(try rows(of: folder.reader(text)).map(\.texts) == expected)
  }

  @Test("Lines are numbered from the header on, quoted line breaks included")
  func lineNumbers() throws {
    let read = try rows(of: folder.reader("a,b\n\"x\ny\",1\n\n2\n3,4\n"))
    #expect(read.map(\.line) == [2, 5, 6])
    #expect(read.map(\.texts) == [["x\ny", "1"], ["!column_count"], ["3", "4"]])
  }

  @Test("A line that is not UTF-8 is reported")
  func badEncoding() throws {
    let path = try folder.write(Array("a,b\n".utf8) + [0xff, 0x2c, 0x31, 0x0a] + Array("3,4\n".utf8))
    let reader = try CSVReader(LineBuffer(FileSource(path: path)))
    #expect(try rows(of: reader).map(\.texts) == [["!bad_utf8"], ["3", "4"]])
  }

  @Test("A line beyond the bound is passed by in bounded memory")
  func tooLong() throws {
    let long = String(repeating: "x", count: InputLimits.lineBytesMax * 3)
    let read = try rows(of: folder.reader("a,b\n1,\(long)\n3,4\n"))
    #expect(read.map(\.texts) == [["!too_long"], ["3", "4"]])
    #expect(read[0].bytes.count <= InputLimits.lineBytesMax * 2)
  }

  @Test("Records are the same wherever the pieces of the file end")
  func manyRecords() throws {
    var text = "number,text\n"
    var expected: [[String]] = []
    for index in 1...20_000 {
      text += "\(index),\"line \(index)\nwith \"\"quotes\"\", and a comma\"\r\n"
      expected.append(["\(index)", "line \(index)\nwith \"quotes\", and a comma"])
    }
    #expect(try rows(of: folder.reader(text)).map(\.texts) == expected)
  }

  @Test("A header that names a column twice, or is missing, is refused")
  func badHeaders() throws {
    #expect(throws: InputError.self) { try folder.reader("a,a\n1,2\n") }
    #expect(throws: InputError.self) { try folder.reader("") }
  }

  @Test("Another delimiter is taken")
  func delimiter() throws {
    let read = try rows(of: folder.reader("a\tb\n1,5\t2\n", delimiter: 0x09))
    #expect(read.map(\.texts) == [["1,5", "2"]])
  }
}
