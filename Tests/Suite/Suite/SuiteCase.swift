import Foundation
import Messages
import RPC
import RPCTransport
import TestKit

/// The suite over TCP with one app, and the calls that the tests make.
struct SuiteCase {
  static let allScopes = [
    "ingest:write", "ingest:import", "query:read", "live:read", "profile:read",
  ]

  let suite: Suite
  let appID: String
  let token: String

  /// Ingest must be running.
  init(_ suite: Suite, appID: String = "shop", timeZone: String = "Asia/Shanghai") async throws {
    self.suite = suite
    self.appID = appID
    var app = ProtoApp()
    app.appID = appID
    app.name = "Shop"
    app.platform = .wechat
    app.timeZone = timeZone
    token = try await suite.makeApp(app, scopes: Self.allScopes)
  }

  /// Calls with a connection of their own.
  func call<Answer: Sendable>(
    _ process: SuiteProcess, token: String? = nil, _ body: (Channel) async throws -> Answer
  ) async throws -> Answer {
    let channel = process.channel(token: token ?? self.token)
    do {
      let answer = try await body(channel)
      await channel.close()
      return answer
    } catch {
      await channel.close()
      throw error
    }
  }

  /// Sends until ingest answers: what a device does. Safe, because an event is counted once.
  func collect(_ request: ProtoCollectRequest, timeoutMilliseconds: Int = 20_000) async throws
    -> ProtoCollectResponse
  {
    let deadline = Deadline.after(milliseconds: timeoutMilliseconds)
    while true {
      do {
        return try await call(suite.ingest) { try await IngestClient($0).collect(request) }
      } catch let error as RPCError where error.code == .unavailable && !deadline.hasPassed {
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }

  func waitForConsumers() async throws {
    try await suite.waitForConsumers(upTo: try await suite.headOffset(), token: token)
  }

  // MARK: - Events

  /// One device's events, a second apart, the last one now.
  func batch(_ names: [String], user: String, firstSequence: UInt64 = 1, page: String = "pages/index")
    -> ProtoCollectRequest
  {
    let now = WallClock.nowMilliseconds
    var request = ProtoCollectRequest()
    request.context.openID = user
    request.context.gender = "female"
    request.context.province = "广东省"
    request.context.scene = 1001
    request.deviceID = "device of \(user)"
    request.sentMs = now
    request.events = names.enumerated().map { index, name in
      var event = ProtoEvent()
      event.name = name
      event.timeMs = now - Int64(names.count - index) * 1_000
      event.pagePath = page
      event.sequence = firstSequence + UInt64(index)
      return event
    }
    return request
  }

  // MARK: - Answers

  /// From the day before yesterday to tomorrow: wherever midnight is.
  var range: ProtoDateRange {
    var range = ProtoDateRange()
    range.beginDate = day(-2)
    range.endDate = day(1)
    return range
  }

  private func day(_ distance: Int) -> String {
    let formatter = DateFormatter()
    formatter.locale = Locale(identifier: "en_US_POSIX")
    formatter.timeZone = TimeZone(identifier: "Asia/Shanghai")
    formatter.dateFormat = "yyyy-MM-dd"
    return formatter.string(from: Date().addingTimeInterval(Double(distance) * 86_400))
  }

  func trend(_ range: ProtoDateRange? = nil) async throws -> ProtoTrendMetrics {
    var request = ProtoGetTrendRequest()
    request.range = range ?? self.range
    request.granularity = .all
    let answer = try await call(suite.query) { try await QueryClient($0).getTrend(request) }
    return answer.points.first?.metrics ?? ProtoTrendMetrics()
  }

  /// The sum of the last three hours' minutes; users are not summed.
  func live() async throws -> (visits: UInt64, opens: UInt64, events: UInt64) {
    var request = ProtoGetSeriesRequest()
    request.beginMs = WallClock.nowMilliseconds - 3 * 3_600_000
    request.endMs = WallClock.nowMilliseconds + 600_000
    let answer = try await call(suite.liveStats) { try await LiveStatsClient($0).getSeries(request) }
    return answer.points.reduce((0, 0, 0)) {
      ($0.0 + $1.visitPv, $0.1 + $1.sessionCnt, $0.2 + $1.eventCnt)
    }
  }

  func profile(_ user: String) async throws -> ProtoProfile {
    var request = ProtoGetProfileRequest()
    request.openID = user
    return try await call(suite.userProfile) { try await UserProfileClient($0).getProfile(request) }
  }
}
