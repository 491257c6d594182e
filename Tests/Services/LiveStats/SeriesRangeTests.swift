import LiveStats
import Testing

@Suite("The buckets that are asked for")
struct SeriesRangeTests {
  private static let now: Int64 = 1_763_790_123_456

  private func resolve(
    _ begin: Int64, _ end: Int64, _ width: Int32, offset: Int64 = 480
  ) throws(LiveQuestionError) -> SeriesRange {
    try SeriesRange.resolve(
      beginMilliseconds: begin, endMilliseconds: end, bucketMinutes: width,
      nowMilliseconds: Self.now, offsetMinutes: { _ in offset })
  }

  @Test("Without a range: 60 buckets, the last holds now", arguments: [0, 1, 5, 10, 30, 60] as [Int32])
  func defaults(width: Int32) throws {
    let range = try resolve(0, 0, width)
    #expect(range.bucketCount == 60)
    #expect(range.bucketMinutes == Int64(max(width, 1)))
    let last = range.endMinute - range.bucketMinutes
    #expect((last * 60_000..<range.endMinute * 60_000).contains(Self.now))
  }

  @Test("The beginning is rounded down, the end is not included")
  func rounding() throws {
    let hour: Int64 = 1_763_787_600_000
    #expect(try resolve(hour + 59_999, hour + 60_000, 1).bucketCount == 1)
    #expect(try resolve(hour + 59_999, hour + 60_001, 1).bucketCount == 2)
    #expect(try resolve(hour + 1, hour + 3_600_000, 60).firstMinute == hour / 60_000)
  }

  @Test("Hours begin where the zone's hours begin, half-hour zones included")
  func halfHourZone() throws {
    let range = try resolve(Self.now, Self.now + 1, 60, offset: 330)
    #expect((range.firstMinute + 330) % 60 == 0)
  }

  @Test("A question that is refused names what is wrong")
  func refused() {
    #expect(throws: LiveQuestionError.badWidth(7)) { try resolve(0, 0, 7) }
    #expect(throws: LiveQuestionError.badWidth(-1)) { try resolve(0, 0, -1) }
    #expect(throws: LiveQuestionError.inverted(begin: 9, end: 9)) { try resolve(9, 9, 1) }
    #expect(throws: LiveQuestionError.badTime(field: "begin_ms", -1)) { try resolve(-1, 5, 1) }
    #expect(throws: LiveQuestionError.badTime(field: "end_ms", .max)) { try resolve(1, .max, 1) }
    #expect(throws: LiveQuestionError.tooManyBuckets(2_881)) {
      try resolve(60_000, 60_000 * 2_882, 1)
    }
  }

  @Test("2,880 buckets are allowed, and the second period has as many")
  func limit() throws {
    let range = try resolve(60_000, 60_000 * 2_881, 1)
    #expect(range.bucketCount == 2_880)
    let compared = try range.comparison(beginMilliseconds: 600_001, offsetMinutes: { _ in 0 })
    #expect(compared.firstMinute == 10)
    #expect(compared.bucketCount == 2_880)
  }
}
