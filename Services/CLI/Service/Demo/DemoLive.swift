import Messages
import RPC

/// People in the invented shop right now: sends each event when it happens, as a phone would, with a device's own count.
struct DemoLive {
  private static let visitsMax = 1_000
  private static let tickMilliseconds: Int64 = 1_000

  private struct Visitor {
    let context: ProtoContext
    let deviceID: String
    var events: ArraySlice<ProtoEvent>
    var sent: UInt64 = 0
  }

  let appID: String
  let users: Int
  let days: Int
  let seed: UInt64
  let visitsPerMinute: Double

  /// Runs for this many seconds, for ever with nil.
  func run(_ client: IngestClient, seconds: Int?) async throws {
    var random = SeededRandom(seed, 3, UInt64(WallClock.nowMilliseconds))
    let end = seconds.map { Deadline.after(milliseconds: $0 * 1_000) }
    var visitors: [Visitor] = []
    var shares: [String] = []
    var isReported = false
    var count: UInt64 = 0
    while end.map({ !$0.hasPassed }) ?? true {
      let now = WallClock.nowMilliseconds
      let expected = visitsPerMinute / 60 * Double(Self.tickMilliseconds) / 1_000
      let arrivals = Int(expected) + (random.happens(expected - expected.rounded(.down)) ? 1 : 0)
      for _ in 0..<arrivals where visitors.count < Self.visitsMax {
        count += 1
        visitors.append(visitor(now, count, &shares, &random))
      }
      do {
        for index in visitors.indices { try await sendDue(&visitors[index], now, client) }
        isReported = false
      } catch let error as RPCError where error.code == .unavailable {
        // What could not be sent stays and goes out with the next tick, under the same numbers.
        if !isReported { Printer.note("footfall: \(error.code): \(error.message); trying on") }
        isReported = true
      }
      visitors.removeAll { $0.events.isEmpty }
      try await Task.sleep(for: .milliseconds(Self.tickMilliseconds))
    }
  }

  private func visitor(
    _ now: Int64, _ count: UInt64, _ shares: inout [String], _ random: inout SeededRandom
  ) -> Visitor {
    let index = Int.random(in: 0..<users, using: &random)
    let person = DemoPerson(index: index, seed: seed, historyDays: days)
    let share = random.happens(0.2) ? shares.randomElement(using: &random) ?? "" : ""
    let name = "live-\(now)-\(count)"
    let visit = DemoVisit(person: person, name: name, shareID: share, random: &random)
    shares = Array((shares + visit.shares).suffix(200))
    let events = visit.events.map { event in
      var event = event
      event.timeMs += now
      return event
    }
    return Visitor(context: visit.context, deviceID: name, events: events[...])
  }

  private func sendDue(_ visitor: inout Visitor, _ now: Int64, _ client: IngestClient) async throws {
    let due = visitor.events.prefix { $0.timeMs <= now }
    guard !due.isEmpty else { return }
    var request = ProtoCollectRequest()
    request.appID = appID
    request.context = visitor.context
    request.deviceID = visitor.deviceID
    request.sentMs = now
    request.events = due.enumerated().map { index, event in
      var event = event
      event.sequence = visitor.sent + UInt64(index) + 1
      return event
    }
    _ = try await client.collect(request)
    visitor.sent += UInt64(due.count)
    visitor.events = visitor.events.dropFirst(due.count)
  }
}
