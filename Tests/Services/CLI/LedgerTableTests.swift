import CLI
import Messages
import SwiftProtobuf
import Testing

@Suite struct LedgerTableTests {
  private static func figures(_ change: (inout ProtoCompletenessFigures) -> Void) -> ProtoCompletenessFigures {
    .with(change)
  }

  private static var answer: ProtoGetCompletenessResponse {
    var answer = ProtoGetCompletenessResponse()
    let first = figures {
      $0.received = 1_012; $0.accepted = 1_000; $0.duplicate = 7; $0.late = 2; $0.completeness = 0.9901
      $0.quarantined = [reason("conflict", 1), reason("late", 2)]
      $0.rejected = [reason("no_consent", 2)]
      $0.gapsOpened = 12; $0.gapsRecovered = 2; $0.missing = 10; $0.lost = 4
    }
    let second = figures { $0.received = 3; $0.accepted = 3; $0.completeness = 1; $0.removed = [reason("phone", 3)] }
    answer.rows = [
      .with { $0.refDate = "20251009"; $0.sdkVersion = "1.0"; $0.figures = first },
      .with { $0.refDate = "20251010"; $0.sdkVersion = "=1,\"2\""; $0.figures = second },
    ]
    answer.total = figures {
      $0.received = 1_015; $0.accepted = 1_003; $0.duplicate = 7; $0.late = 2; $0.completeness = 0.99995
      $0.quarantined = first.quarantined; $0.rejected = first.rejected; $0.removed = second.removed
      $0.missing = 10; $0.lost = 4
    }
    answer.timeZone = "Asia/Shanghai"
    answer.asOfOffset = 1_004
    return answer
  }

  private static func reason(_ reason: String, _ events: UInt64) -> ProtoReasonCount {
    .with { $0.reason = reason; $0.events = events }
  }

  @Test func `the table shows days, their sum and the reasons, and rounds no loss away`() {
    #expect(
      LedgerTable(Self.answer, byVersion: false).text == """
        day       received  accepted  duplicate  late  aside  rejected  removed  missing  lost   complete
        --------  --------  --------  ---------  ----  -----  --------  -------  -------  ----  ---------
        20251009     1,012     1,000          7     2      1         2        0       10     4     99.0 %
        20251010         3         3          0     0      0         0        3        0     0    100.0 %
        all          1,015     1,003          7     2      1         2        3       10     4  99.9950 %
        rejected: no_consent 2
        aside: conflict 1, late 2
        removed: phone 3
        Asia/Shanghai · as of offset 1,004 · not over yet

        """)
  }

  @Test func `comma-separated values have a column for each reason, and quote what must be`() {
    let lines = LedgerTable(Self.answer, byVersion: true).csv.split(separator: "\r\n")
    #expect(
      lines == [
        """
        ref_date,sdk_version,received,accepted,duplicate,gaps_opened,gaps_recovered,missing,lost,before_first,\
        before_first_received,completeness,quarantined.conflict,quarantined.late,rejected.no_consent,removed.phone
        """,
        "20251009,1.0,1012,1000,7,12,2,10,4,0,0,0.9901,1,2,2,0",
        "20251010,\"'=1,\"\"2\"\"\",3,3,0,0,0,0,0,0,0,1.0,0,0,0,3",
      ])
  }
}
