import Events
import Query
import TestKit

/// What a random question counts: days, a filter, traffic; and what that means for one event.
struct RandomScope {
  let days: ClosedRange<Int>
  let compareDays: ClosedRange<Int>?
  let filter: FilterTree?
  let traffic: TrafficChoice

  init(_ data: RandomData, _ random: inout SeededRandom) {
    let origin = Int(data.origin / 86_400_000)
    let begin = origin - 2 + random.below(10)
    days = begin...begin + random.below(12)
    let other = origin + random.below(6)
    let compared = other...other + random.below(5)
    compareDays = random.oneIn(3) ? compared : nil
    filter = random.below(2) == 0 ? RandomFilters.tree(&random) : nil
    traffic = TrafficChoice(
      channel: random.oneIn(6) ? 2 : 1, includesExcludedScenes: random.below(2) == 0)
  }

  func counts(_ event: ReferenceEvent) -> Bool {
    event.channel == (traffic.channel == 1 ? "release" : "trial")
      && (traffic.includesExcludedScenes || !event.isExcludedScene)
  }

  func matches(_ event: ReferenceEvent) -> Bool {
    filter.map { RandomFilters.matches($0, event) } ?? true
  }

  /// [begin, end), ms since 1970, by Foundation's calendar.
  static func milliseconds(_ days: ClosedRange<Int>, _ data: RandomData) throws -> Range<Int64> {
    struct NoZone: Error {}
    guard let calendar = ReferenceCalendar(data.zone) else { throw NoZone() }
    func day(_ index: Int) -> Range<Int64> {
      let civil = CivilDay(index: index)
      return calendar.day(civil.year, civil.month, civil.day)
    }
    return day(days.lowerBound).lowerBound..<day(days.upperBound).upperBound
  }
}
