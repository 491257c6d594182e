import Events
import LiveStats
import Messages
import Store
import Testing

@Suite("Sweeping what is too old")
struct LiveSweepTests {
  private func rows(_ fixture: LiveFixture, _ table: String) throws -> Int {
    try fixture.store.read { connection in
      try connection.first("SELECT count(*) FROM \(table)") { $0.int(0) } ?? -1
    }
  }

  @Test("Minutes, parts, pages and users go; what is kept stays exact")
  func sweeps() throws {
    let fixture = try LiveFixture(retentionMinutes: 60)
    let old = (0..<1_500).map { Fact(user: "old\($0)", time: LiveFixture.now, page: "old") }
    for first in stride(from: 0, to: old.count, by: 500) {
      try fixture.commit([ProtoCollectRequest(Array(old[first..<first + 500]))])
    }
    #expect(try rows(fixture, "live_part") > 0)
    let later = LiveFixture.now + 5 * 3_600_000
    fixture.clock.advance(later - LiveFixture.now)
    let kept = [Fact(user: "old1", time: later, page: "new"), Fact(user: "b", time: later, page: "new")]
    try fixture.commit([ProtoCollectRequest(kept)])

    var sweep = LiveSweep()
    var deleted = LiveSweep.Deleted()
    for _ in 0..<4 {
      let step = try fixture.store.write {
        try sweep.step($0, horizonMinute: fixture.view.horizonMinute)
      }
      deleted.minutes += step.minutes
      deleted.pages += step.pages
      deleted.users += step.users
      fixture.applier.discard()
    }
    #expect(deleted == LiveSweep.Deleted(minutes: 2, pages: 1, users: 1_499) )
    #expect(try rows(fixture, "live_part") == 0)
    #expect(try rows(fixture, "live_minute") == 2)
    #expect(try rows(fixture, "live_page") == 1)
    #expect(try rows(fixture, "live_user") == 2)

    let more = [Fact(user: "old7", time: later + 1_000, page: "old")]
    try fixture.commit([ProtoCollectRequest(more)])
    let range = SeriesRange(firstMinute: later / 60_000 - 5, bucketMinutes: 5, bucketCount: 3)
    let reference = LiveReference(facts: kept + more, rules: .classic)
    #expect(try fixture.series(range) == reference.series(range))
    #expect(try fixture.series(range, page: "old") == reference.series(range, page: "old"))
  }
}
