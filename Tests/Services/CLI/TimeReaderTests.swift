import CLI
import Testing

@Suite struct TimeReaderTests {
  private func milliseconds(
    _ text: String, _ format: String = "auto", zone: String = "UTC"
  ) throws -> Int64? {
    var clock = try #require(ZoneClock(identifier: zone))
    return TimeReader(try TimeFormat(format)).read(text).map { clock.utcMilliseconds(of: $0) }
  }

  // Expected values by `date -u -d ... +%s`.
  @Test(
    "Usual ways to write a time are understood",
    arguments: [
      ("2024-03-13 10:21:14", 1_710_325_274_000), ("2024-03-13T10:21:14Z", 1_710_325_274_000),
      ("2024-03-13T10:21:14.5+08:00", 1_710_296_474_500), ("2024-03-13", 1_710_288_000_000),
      ("20240313", 1_710_288_000_000), ("2024/3/13 10:21", 1_710_325_260_000),
      ("2024-03-13 10:21:14 UTC", 1_710_325_274_000), ("1710325274", 1_710_325_274_000),
      ("1710325274.25", 1_710_325_274_250), ("1710325274000", 1_710_325_274_000),
      ("2024-02-29 00:00:00", 1_709_164_800_000), ("1969-12-31 23:59:59", -1_000),
    ])
  func automatic(text: String, expected: Int64) throws {
    #expect(try milliseconds(text) == expected)
  }

  @Test(
    "What is no time is refused",
    arguments: [
      "", "yesterday", "2024-13-01", "2023-02-29", "2024-03-13 25:00:00", "2024-03-13 10:61:00",
      "2024-03-13 10:21:14 and more", "2024-03", "10:21:14", "2024-03-13T", "-5",
    ])
  func refused(text: String) throws {
    #expect(try milliseconds(text) == nil)
  }

  @Test(
    "Patterns are read as strptime reads them",
    arguments: [
      ("13/Mar/2024:10:21:14 +0000", "%d/%b/%Y:%H:%M:%S %z", 1_710_325_274_000),
      ("03/13/24 10:21 PM", "%m/%d/%y %I:%M %p", 1_710_368_460_000),
      ("12:00 AM 2024-03-13", "%I:%M %p %Y-%m-%d", 1_710_288_000_000),
      ("2024-03-13 10:21:14.123456", "%Y-%m-%d %H:%M:%S.%f", 1_710_325_274_123),
    ])
  func patterns(text: String, pattern: String, expected: Int64) throws {
    #expect(try milliseconds(text, pattern) == expected)
  }

  @Test("Times without a zone count in the file's zone, summer time included")
  func zones() throws {
    #expect(try milliseconds("2024-03-13 18:21:14", zone: "Asia/Shanghai") == 1_710_325_274_000)
    #expect(try milliseconds("2024-01-15 12:00:00", zone: "America/New_York") == 1_705_338_000_000)
    #expect(try milliseconds("2024-07-15 12:00:00", zone: "America/New_York") == 1_721_059_200_000)
    // 2024-03-10 02:00 EST became 03:00 EDT.
    #expect(try milliseconds("2024-03-10 01:59:59", zone: "America/New_York") == 1_710_053_999_000)
    #expect(try milliseconds("2024-03-10 03:00:00", zone: "America/New_York") == 1_710_054_000_000)
    // Of an hour that occurs twice the first is meant.
    #expect(try milliseconds("2024-11-03 01:30:00", zone: "America/New_York") == 1_730_611_800_000)
  }

  @Test("A format that is not understood is refused")
  func badFormats() {
    for format in ["", "%Q", "yyyy-mm-dd", "%"] {
      #expect(throws: LineProblem.self) { try TimeFormat(format) }
    }
  }
}
