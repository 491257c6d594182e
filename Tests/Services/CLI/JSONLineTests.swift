import CLI
import Testing

@Suite struct JSONLineTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  private func describe(_ line: String) throws(LineProblem) -> [String] {
    try JSONLine.parse(line.utf8).map { "\($0.name)=\($0.value)" }
  }

  @Test(
    "Members keep their order and type",
    arguments: [
      ("{}", []),
      (#"{"a":"x","b":1}"#, ["a=text(\"x\")", "b=integer(1)"]),
      (#"{"a":1.5,"b":-2,"c":1e3}"#, ["a=double(1.5)", "b=integer(-2)", "c=double(1000.0)"]),
      (#"{"a":true,"b":false,"c":null}"#, ["a=boolean(true)", "b=boolean(false)"]),
      (#"{"a":{"b":{"c":1}},"d":2}"#, ["a.b.c=integer(1)", "d=integer(2)"]),
      (#"{"a":[1,{"b":"]"}]}"#, [#"a=text("[1,{\"b\":\"]\"}]")"#]),
      (#" { "a" : "b" } "#, ["a=text(\"b\")"]),
      (#"{"a":"\u4e2d\ud83d\ude00\n\\"}"#, ["a=text(\"中😀\\n\\\\\")"]),
      (#"{"a":9223372036854775807}"#, ["a=integer(9223372036854775807)"]),
    ])
  func values(line: String, expected: [String]) throws {
    #expect(try describe(line) == expected)
  }

  @Test(
    "What is not one JSON object is refused with the place",
    arguments: [
      "", "[1]", "{", #"{"a"}"#, #"{"a":}"#, #"{"a":1,}"#, #"{"a":1} x"#, #"{"a":tru}"#,
      #"{"a":"x}"#, #"{"a":"\x"}"#, #"{"a":"\ud800"}"#, #"{"a":[1}"#, #"{"a":1e999}"#, "nonsense",
    ])
  func refused(line: String) {
    #expect(throws: LineProblem.self) { try describe(line) }
  }

  @Test("Objects nested beyond the bound are refused, not followed")
  func depth() {
    let line = String(repeating: "{\"a\":", count: 5_000)
    #expect(throws: LineProblem.self) { try describe(line) }
    let arrays = "{\"a\":" + String(repeating: "[", count: 5_000)
    #expect(throws: LineProblem.self) { try describe(arrays) }
  }

  @Test("A file of lines gives its columns as they appear")
  func file() throws {
    let text = "{\"a\":1}\n\n{\"b\":2,\"a\":3}\nbroken\n{\"a\":4}"
    let reader = NDJSONReader(try LineBuffer(FileSource(path: folder.write(Array(text.utf8)))))
    let read = try rows(of: reader)
    #expect(reader.columns == ["a", "b"])
    #expect(read.map(\.texts) == [["1"], ["2", "3"], ["!bad_json"], ["4"]])
    #expect(read.map(\.line) == [1, 3, 4, 5])
  }
}
