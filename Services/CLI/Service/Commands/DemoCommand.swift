import ArgumentParser
import Messages
import RPC

/// `footfall demo`.
struct DemoCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Fill an app with invented traffic of a shop: the last days, and on request live.",
    discussion: "Makes the app if it is missing. Running it again with the same --begin counts nothing twice.")

  @Option(help: "The app.")
  var app = "demo"
  @Option(help: "Invented users, 1-100000.")
  var users = 400
  @Option(help: "Days of history, today included, 0-366.")
  var days = 14
  @Option(
    help: "First day of the history, yyyy-mm-dd; by default --days before tomorrow. The same day again changes nothing.")
  var begin: String?
  @Option(help: "Another seed gives other traffic.")
  var seed: UInt64 = 1
  @Flag(help: "Go on with live traffic until interrupted.")
  var live = false
  @Option(help: "With --live: stop after this many seconds.")
  var seconds: Int?
  @Option(name: .customLong("visits-per-minute"), help: "With --live: how many visits begin, 1-6000.")
  var visitsPerMinute = 30.0
  @OptionGroup var connection: ConnectionOptions

  func run() async throws {
    guard (1...100_000).contains(users) else {
      throw CommandFailure.usage("--users: \(users) is not within 1-100000")
    }
    guard (0...366).contains(days) else {
      throw CommandFailure.usage("--days: \(days) is not within 0-366")
    }
    guard (1...6_000).contains(visitsPerMinute) else {
      throw CommandFailure.usage("--visits-per-minute: \(visitsPerMinute) is not within 1-6000")
    }
    try await connection.withChannel(to: .ingest) { channel in
      let client = IngestClient(channel)
      try await createApp(client)
      let events = try await sendHistory(client)
      Printer.line(
        "\(NumberText.grouped(events)) events of \(NumberText.grouped(users)) users over "
          + "\(days) days are in \(app)")
      guard live else { return }
      let traffic = DemoLive(
        appID: app, users: users, days: days, seed: seed, visitsPerMinute: visitsPerMinute)
      try await traffic.run(client, seconds: seconds)
    }
  }

  private func firstDay(_ now: Int64) throws -> Int64 {
    let today = DemoHistory.day(of: now)
    guard let begin else { return today - Int64(days) + 1 }
    guard let time = TimeReader(.automatic).read(begin) else {
      throw CommandFailure.usage("--begin: \"\(begin)\" is not a day such as 2024-03-13")
    }
    let day = time.localMilliseconds / 86_400_000
    guard (today - 366...today).contains(day) else {
      throw CommandFailure.usage("--begin: \(begin) is not within the last 366 days")
    }
    return day
  }

  private func createApp(_ client: IngestClient) async throws {
    var request = ProtoCreateAppRequest()
    request.app.appID = app
    request.app.name = "Demo shop"
    request.app.platform = .wechat
    request.app.timeZone = "Asia/Shanghai"
    _ = try await client.createApp(request)
  }

  private func sendHistory(_ client: IngestClient) async throws -> Int {
    guard days > 0 else { return 0 }
    let now = WallClock.nowMilliseconds
    let history = DemoHistory(
      appID: app, users: users, days: days, seed: seed, firstDay: try firstDay(now),
      nowMilliseconds: now)
    let call = try await client.collectStream()
    // Each answer is checked as it comes: the stream's flow control bounds what is on the way.
    let answers = Task {
      for try await answer in call.responses {
        if answer.hasError {
          throw RPCError(
            StatusCode(rawValue: Int(answer.error.code)) ?? .unknown, answer.error.message)
        }
        if let rejected = answer.rejected.first {
          throw RPCError(
            .invalidArgument, "\(rejected.field): \(rejected.reason): \(rejected.message)")
        }
      }
    }
    defer { call.cancel() }
    let events = try await history.run { try await call.send($0) }
    try await call.finishSending()
    try await answers.value
    return events
  }
}
