import Messages
import RPC

/// The past of the invented shop, day by day. The same seed and first day give the same events under the same ids, however far the
/// present has moved on, so that sending it again counts nothing twice.
struct DemoHistory {
  private static let millisecondsPerDay: Int64 = 86_400_000
  // China has no summer time: the shop's day begins at a fixed hour.
  private static let zoneOffset: Int64 = 8 * 3_600_000

  /// When people come, by hour of the day.
  private static let hours: [(value: Int, weight: Double)] = [
    2, 1, 1, 1, 1, 2, 4, 7, 9, 9, 9, 11, 14, 11, 8, 8, 9, 10, 13, 17, 20, 19, 12, 6,
  ].enumerated().map { ($0.offset, $0.element) }

  let appID: String
  let users: Int
  /// The days over which people come in.
  let days: Int
  let seed: UInt64
  /// Number of the first day since 1970.
  let firstDay: Int64
  let nowMilliseconds: Int64

  /// Calls `send` with one batch per visit that has begun and ended by now.
  ///
  /// - Returns: how many events there were.
  func run(_ send: (ProtoCollectRequest) async throws -> Void) async throws -> Int {
    var shares: [String] = []
    var events = 0
    let people = (0..<users).map { DemoPerson(index: $0, seed: seed, historyDays: days) }
    for day in firstDay...max(firstDay, Self.day(of: nowMilliseconds)) {
      for (index, person) in people.enumerated() where day - firstDay >= person.joinDay {
        var random = SeededRandom(seed, 2, UInt64(index), UInt64(day))
        guard Int(day - firstDay) == person.joinDay || random.happens(person.loyalty) else {
          continue
        }
        for visit in 0..<Int(random.pick([(1, 6), (2, 3), (3, 1)])) {
          let share = random.happens(0.18) ? shares.randomElement(using: &random) ?? "" : ""
          let name = "demo-\(seed)-\(firstDay)-\(day)-\(index)-\(visit)"
          let begin = begin(of: day, &random)
          let story = DemoVisit(person: person, name: name, shareID: share, random: &random)
          // Also those of a visit that lies ahead: what follows must not depend on the present.
          shares = Array((shares + story.shares).suffix(200))
          guard let batch = batch(story, name: name, begin: begin) else { continue }
          try await send(batch)
          events += batch.events.count
        }
      }
    }
    return events
  }

  /// The day of the shop's zone in which a moment lies.
  static func day(of milliseconds: Int64) -> Int64 {
    (milliseconds + zoneOffset).quotientRoundedDown(by: millisecondsPerDay)
  }

  private func begin(of day: Int64, _ random: inout SeededRandom) -> Int64 {
    let hour = Int64(random.pick(Self.hours))
    return day * Self.millisecondsPerDay - Self.zoneOffset + hour * 3_600_000
      + Int64.random(in: 0..<3_600_000, using: &random)
  }

  private func batch(_ visit: DemoVisit, name: String, begin: Int64) -> ProtoCollectRequest? {
    var request = ProtoCollectRequest()
    request.appID = appID
    request.import = true
    request.context = visit.context
    request.events = visit.events.enumerated().map { index, event in
      var event = event
      event.timeMs += begin
      event.eventID = "\(name)-\(index)"
      return event
    }
    guard let last = request.events.last, last.timeMs < nowMilliseconds else { return nil }
    return request
  }
}
