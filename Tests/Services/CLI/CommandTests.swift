import CLI
import Messages
import SwiftProtobuf
import Testing

@Suite struct CommandTests {
  @Test(
    "Filters are read with the usual precedence",
    arguments: [
      ("a = 1", "a eq 1"),
      ("a == 1 and b != x", "(a eq 1 AND b ne x)"),
      ("a = 1 or b = 2 and c = 3", "(a eq 1 OR (b eq 2 AND c eq 3))"),
      ("(a = 1 or b = 2) and not c exists", "((a eq 1 OR b eq 2) AND NOT c exists)"),
      ("price>=10.5", "price ge 10.5"),
      ("city in (Beijing, 'Hong Kong')", "city in Beijing|Hong Kong"),
      ("city not in (a,b)", "city notIn a|b"),
      ("n between 1 and 9 and m < 3", "(n between 1|9 AND m lt 3)"),
      ("page_path prefix pages/", "page_path prefix pages/"),
      ("name ~ '^a.*'", "name regex ^a.*"),
      ("a not contains b", "a notContains b"),
      ("coupon not exists", "coupon notExists"),
      ("版本 = '10'", "版本 eq 10"),
    ])
  func filters(text: String, expected: String) throws {
    #expect(try FilterText.parse(text).described == expected)
  }

  @Test("Bare numbers and booleans are typed, quoted ones are text")
  func values() throws {
    #expect(try FilterText.parse("a = 10").condition.values[0].kind == .integerValue(10))
    #expect(try FilterText.parse("a = '10'").condition.values[0].kind == .stringValue("10"))
    #expect(try FilterText.parse("a = 1.5").condition.values[0].kind == .doubleValue(1.5))
    #expect(try FilterText.parse("a = true").condition.values[0].kind == .booleanValue(true))
    #expect(try FilterText.parse("a = nan").condition.values[0].kind == .stringValue("nan"))
    #expect(try FilterText.parse("a contains 10").condition.values[0].kind == .stringValue("10"))
  }

  @Test(
    "What is no filter is refused as a wrong call",
    arguments: [
      "", "a", "a =", "a = 1 and", "(a = 1", "a = 1)", "a in 1", "a in (1", "a between 1",
      "= 1", "a = 'x", "a not prefix b", "a = 1 b = 2",
    ])
  func badFilters(text: String) {
    let failure = #expect(throws: CommandFailure.self) { try FilterText.parse(text) }
    #expect(failure?.exit == .usage)
  }

  @Test("A filter nested without end is refused, not followed")
  func deepFilter() {
    #expect(throws: CommandFailure.self) {
      try FilterText.parse(String(repeating: "not ", count: 4_000) + "a = 1")
    }
  }

  @Test(
    "Addresses",
    arguments: [
      ("", "127.0.0.1:7001"), (":9000", "127.0.0.1:9000"), ("ingest", "ingest:7001"),
      ("ingest:9000", "ingest:9000"), ("[::1]:9000", "[::1]:9000"), ("[::1]", "[::1]:7001"),
    ])
  func addresses(text: String, expected: String) {
    #expect(ServiceAddress(text, defaultPort: 7001)?.description == expected)
  }

  @Test("What is no address is refused", arguments: ["a:b", "a:0", "a:70000", "a:1:2", "[::1", "[]"])
  func badAddresses(text: String) {
    #expect(ServiceAddress(text, defaultPort: 7001) == nil)
  }

  @Test("Durations")
  func durations() {
    #expect(DurationText.milliseconds("30m") == 1_800_000)
    #expect(DurationText.milliseconds("1d") == 86_400_000)
    #expect(DurationText.milliseconds("250ms") == 250)
    for text in ["", "1", "d", "-1d", "1y", "99999999999999999999d", "9999999999999d"] {
      #expect(DurationText.milliseconds(text) == nil, "\(text)")
    }
  }

  @Test(
    "A wrong call ends with exit code 64, before anything is sent",
    arguments: [
      ["nonsense"], ["trend", "--granularity", "minute", "--token-file", "/nonexistent"],
      ["import", "/nonexistent.bin"], ["import", "a.csv", "--map", "x"],
      ["import", "a.csv", "--time-zone", "Mars/Base"], ["import", "a.csv", "--time-format", "%Q"],
      ["import", "a.csv", "--delimiter", "ab"], ["send"], ["token", "create"],
      ["funnel", "a|", "|", "--token-file", "/nonexistent"], ["token", "revoke", "ff_x_secret"],
      ["live", "--pages", "--watch"], ["demo", "--users", "0"],
      ["app", "create", "x", "--platform", "symbian"],
      ["report", "trend", "--csv", "--json", "--token-file", "/nonexistent"],
    ])
  func wrongCalls(arguments: [String]) async {
    #expect(await Footfall.execute(arguments) == 64)
  }

  @Test(
    "JSON that is no request is told in the words of JSON",
    arguments: [
      (#"{"colour": 1}"#, "\"colour\""), (#"{"order_by": "PAGE_ORDER_COLOUR"}"#, "a name"),
      (#"{"limit": "many"}"#, "a number"), (#"{"limit": 1"#, "ends too early"),
      (#"{"limit": 1} x"#, "behind its end"), (#"{"include_excluded_scenes": 3}"#, "true or false"),
      (#"{"range": 7}"#, "not well-formed"), ("[", ""),
    ])
  func badJSON(text: String, told: String) throws {
    let error = #expect(throws: (any Error).self) { try ProtoGetPagesRequest(jsonString: text) }
    let words = JSONProblem.text(try #require(error))
    #expect(words.contains(told))
    // Names of cases have humps.
    #expect(words.firstMatch(of: /[a-z][A-Z]/) == nil, "\(words)")
  }

  @Test("A failure that is no wrong call ends with exit code 1")
  func failures() async {
    #expect(await Footfall.execute(["app", "list", "--token-file", "/nonexistent"]) == 1)
    #expect(await Footfall.execute(["import", "/nonexistent.csv"]) == 1)
  }
}

extension ProtoFilter {
  /// For comparison in tests.
  fileprivate var described: String {
    switch kind {
    case .and(let group): "(" + group.filters.map(\.described).joined(separator: " AND ") + ")"
    case .or(let group): "(" + group.filters.map(\.described).joined(separator: " OR ") + ")"
    case .not(let filter): "NOT " + filter.described
    case .condition(let condition):
      ([condition.field, "\(condition.operator)"]
        + (condition.values.isEmpty
          ? [] : [condition.values.map(\.text).joined(separator: "|")])).joined(separator: " ")
    case nil: "nothing"
    }
  }
}
