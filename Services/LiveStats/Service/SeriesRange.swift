/// A period cut into buckets of equal width: the answer to "which minutes are asked for".
package struct SeriesRange: Sendable, Equatable {
  /// First minute, counted from 1970.
  package let firstMinute: Int64
  package let bucketMinutes: Int64
  package let bucketCount: Int

  /// Behind the last minute.
  package var endMinute: Int64 { firstMinute + bucketMinutes * Int64(bucketCount) }
  package var minutes: Range<Int64> { firstMinute..<endMinute }

  package init(firstMinute: Int64, bucketMinutes: Int64, bucketCount: Int) {
    precondition(bucketMinutes > 0 && bucketCount >= 0)
    self.firstMinute = firstMinute
    self.bucketMinutes = bucketMinutes
    self.bucketCount = bucketCount
  }

  /// The bucket that holds a minute of the range.
  package func bucket(of minute: Int64) -> Int {
    Int((minute - firstMinute) / bucketMinutes)
  }

  /// The buckets of [begin, end): the first is the one that holds `begin`, the last the one that holds `end` - 1 ms.
  ///
  /// Buckets are aligned in local time, so that those of 60 minutes are hours in a zone of a half hour too; all have
  /// the alignment of the period's beginning.
  ///
  /// - Parameters:
  ///   - beginMilliseconds: 0: 60 buckets before the end.
  ///   - endMilliseconds: 0: now.
  ///   - bucketMinutes: 1, 5, 10, 30 or 60. 0: 1.
  ///   - offsetMinutes: the zone's offset from UTC at a time in ms.
  package static func resolve(
    beginMilliseconds: Int64, endMilliseconds: Int64, bucketMinutes: Int32, nowMilliseconds: Int64,
    offsetMinutes: (Int64) -> Int64
  ) throws(LiveQuestionError) -> SeriesRange {
    let asked = bucketMinutes == 0 ? 1 : bucketMinutes
    guard LiveLimits.bucketMinutes.contains(asked) else { throw .badWidth(bucketMinutes) }
    let width = Int64(asked)
    let end = try time(endMilliseconds, field: "end_ms", otherwise: nowMilliseconds)
    let lastMinute = try minuteOf(end - 1, end: end)
    let begin = try time(beginMilliseconds, field: "begin_ms", otherwise: end)
    let offset = offsetMinutes(beginMilliseconds == 0 ? end : begin)
    guard beginMilliseconds != 0 else {
      let last = floor(lastMinute, to: width, offset: offset)
      let count = LiveLimits.seriesBucketsDefault
      return SeriesRange(
        firstMinute: last - Int64(count - 1) * width, bucketMinutes: width, bucketCount: count)
    }
    guard begin < end else { throw .inverted(begin: begin, end: end) }
    let first = floor(begin / 60_000, to: width, offset: offset)
    let count = (lastMinute - first) / width + 1
    guard count <= LiveLimits.seriesBucketsMax else { throw .tooManyBuckets(count) }
    return SeriesRange(firstMinute: first, bucketMinutes: width, bucketCount: Int(count))
  }

  /// As many buckets of the same width, from the one that holds `begin` on.
  package func comparison(
    beginMilliseconds: Int64, offsetMinutes: (Int64) -> Int64
  ) throws(LiveQuestionError) -> SeriesRange {
    let begin = try Self.time(beginMilliseconds, field: "compare_begin_ms", otherwise: 0)
    let first = Self.floor(begin / 60_000, to: bucketMinutes, offset: offsetMinutes(begin))
    return SeriesRange(
      firstMinute: first, bucketMinutes: bucketMinutes, bucketCount: bucketCount)
  }

  /// 9999-12-31: sums of times stay far from overflow.
  private static let timeMillisecondsMax: Int64 = 253_402_300_799_999

  private static func time(
    _ value: Int64, field: String, otherwise: Int64
  ) throws(LiveQuestionError) -> Int64 {
    guard value >= 0, value <= timeMillisecondsMax else { throw .badTime(field: field, value) }
    return value == 0 ? otherwise : value
  }

  private static func minuteOf(_ last: Int64, end: Int64) throws(LiveQuestionError) -> Int64 {
    guard last >= 0 else { throw .badTime(field: "end_ms", end) }
    return last / 60_000
  }

  private static func floor(_ minute: Int64, to width: Int64, offset: Int64) -> Int64 {
    let local = minute + offset
    let rest = local % width
    return minute - (rest < 0 ? rest + width : rest)
  }
}

/// A question that live-stats does not answer, and why.
package enum LiveQuestionError: Error, Equatable {
  case unknownApp(String)
  case badWidth(Int32)
  case inverted(begin: Int64, end: Int64)
  case tooManyBuckets(Int64)
  case badTime(field: String, Int64)
  case tooManyPages(UInt32)
  case badInterval(Int32)
  case tooManyWatchers(Int)
  case tooManyTopics(Int)
  case pathTooLong(Int)
}
