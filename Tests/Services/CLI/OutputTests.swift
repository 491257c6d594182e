import CLI
import Messages
import Testing

@Suite struct OutputTests {
  @Test(
    "Numbers are grouped",
    arguments: [
      (0, "0"), (7, "7"), (999, "999"), (1_000, "1,000"), (31_106, "31,106"),
      (-1_234_567, "-1,234,567"), (Int.min, "-9,223,372,036,854,775,808"),
    ])
  func grouped(number: Int, expected: String) {
    #expect(NumberText.grouped(number) == expected)
  }

  @Test(
    "Decimals are rounded, not cut",
    arguments: [
      (0.0, 2, "0.00"), (1.005, 1, "1.0"), (2.675, 0 + 2, "2.68"), (1_234.5, 1, "1,234.5"),
      (0.999, 2, "1.00"), (-0.001, 2, "0.00"), (-12.34, 1, "-12.3"), (.infinity, 1, "-"),
      (.nan, 1, "-"),
    ])
  func decimals(number: Double, decimals: Int, expected: String) {
    #expect(NumberText.decimal(number, decimals) == expected)
  }

  @Test("Growth from nothing is not a number")
  func growth() {
    #expect(NumberText.growth(110, 100) == "+10.0 %")
    #expect(NumberText.growth(90, 100) == "-10.0 %")
    #expect(NumberText.growth(5, 0) == "-")
  }

  @Test("Times are shown in the zone asked for")
  func times() {
    #expect(NumberText.time(1_710_325_274_000, zone: "UTC") == "2024-03-13 10:21:14")
    #expect(NumberText.time(1_710_325_274_000, zone: "Asia/Shanghai") == "2024-03-13 18:21:14")
    #expect(NumberText.time(0, zone: "UTC") == "never")
    #expect(CivilTime(localMilliseconds: 951_782_400_000).text == "2000-02-29 00:00:00")
    #expect(CivilTime(localMilliseconds: -1).text == "1969-12-31 23:59:59")
  }

  @Test("Columns are aligned, wide characters take two places")
  func table() {
    var table = TextTable([("city", .left), ("users", .right)])
    table.add(["深圳", "1,204"])
    table.add(["Xi'an\nnorth", "7"])
    #expect(
      table.text == """
        city         users
        -----------  -----
        深圳         1,204
        Xi'an north      7

        """)
  }

  @Test("JSON strings are escaped")
  func json() {
    #expect(JSONText.quoted("a\"b\\c\nd\u{1}中") == "\"a\\\"b\\\\c\\nd\\u0001中\"")
  }

  @Test("The progress bar says how far and how fast")
  func progress() {
    #expect(
      ProgressBar.text(rows: 16_180, share: 0.5, nanoseconds: 2_000_000_000)
        == "[###############...............]  50 %  16,180 rows  8,090/s  2.0 s left")
    #expect(ProgressBar.text(rows: 5, share: nil, nanoseconds: 1_000_000_000) == "5 rows  5/s")
  }

  @Test("A summary names counts, reasons, lines and an example")
  func summary() throws {
    var report = ImportReport()
    report.count(rows: 1_200)
    report.count(accepted: 1_198, duplicates: 1_000)
    report.reject(LineProblem("bad_time", field: "time", "\"soon\" is not a time"), line: 17)
    report.reject(LineProblem("bad_time", field: "time", "\"soon\" is not a time"), line: 90)
    let summary = ImportSummary(report: report, file: "a.csv", appID: "shop", isDryRun: false)
    #expect(
      summary.text == """
        a.csv into shop      rows
        ------------------  -----
        read                1,200
        imported              198
        were there already  1,000
        rejected                2

        rejected  field  rows  lines  example
        --------  -----  ----  -----  --------------------
        bad_time  time      2  17 90  "soon" is not a time

        """)
    #expect(try summary.json.hasPrefix("{\"accepted\":1198,\"duplicates\":1000,"))
  }
}
