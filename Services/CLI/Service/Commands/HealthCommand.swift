import ArgumentParser
import Messages
import RPC
import RPCTransport

/// `footfall health`.
struct HealthCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "health", abstract: "Whether the services serve, and how far they follow the log.",
    discussion: "Exit code 0 if all asked ones serve. Needs no token; with one it also shows the lag.")

  @Option(name: .customLong("service"), help: "Only this one; may be given again.")
  var services: [ServiceName] = []
  @Option(help: "Wait up to this many seconds until they serve.")
  var wait = 0
  @Flag(
    name: .customLong("caught-up"),
    help: "Also ask that they have applied all that was in the log when this began (needs a token).")
  var caughtUp = false
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  struct Finding {
    let service: ServiceName
    let address: ServiceAddress
    let isServing: Bool
    let state: String
    let consumer: ProtoConsumerStatus?

    /// Ingest has what it has: only the others follow.
    func hasApplied(_ head: UInt64) -> Bool {
      head == 0 || service == .ingest || (consumer?.nextOffset ?? 0) >= head
    }
  }

  func run() async throws {
    let asked = services.isEmpty ? ServiceName.allCases : services
    let end = Deadline.after(milliseconds: max(0, min(wait, 3_600)) * 1_000)
    let head = caughtUp ? try await logHead() : 0
    var findings = try await examine(asked)
    while !findings.allSatisfy({ $0.isServing && $0.hasApplied(head) }), !end.hasPassed {
      try await Task.sleep(for: .milliseconds(100))
      findings = try await examine(asked)
    }
    if output.json { printJSON(findings) } else { printTable(findings) }
    let missing = findings.filter { !$0.isServing }
    guard missing.isEmpty else {
      let names = missing.map { "\($0.service.rawValue) (\($0.address)): \($0.state)" }
      throw CommandFailure("not serving: \(names.joined(separator: "; "))")
    }
    let behind = findings.filter { !$0.hasApplied(head) }.map(\.service.rawValue)
    guard behind.isEmpty else {
      throw CommandFailure("behind offset \(head) of the log: \(behind.joined(separator: ", "))")
    }
  }

  private func logHead() async throws -> UInt64 {
    try await connection.withChannel(to: .ingest) { channel in
      try await IngestClient(channel).getLogStatus(ProtoGetLogStatusRequest()).headOffset
    }
  }

  private func examine(_ services: [ServiceName]) async throws -> [Finding] {
    var findings: [Finding] = []
    for service in services { findings.append(try await examine(service)) }
    return findings
  }

  private func examine(_ service: ServiceName) async throws -> Finding {
    let address = try connection.address(of: service)
    return try await connection.withChannel(to: service, isTokenRequired: false) { channel in
      let options = CallOptions(timeoutMilliseconds: 2_000)
      do {
        let answer = try await Grpc_Health_V1_HealthClient(channel).check(
          Grpc_Health_V1_HealthCheckRequest(), options: options)
        let isServing = answer.status == .serving
        return Finding(
          service: service, address: address, isServing: isServing,
          state: isServing ? "SERVING" : "NOT_SERVING",
          consumer: isServing ? await status(service, channel, options) : nil)
      } catch let error as RPCError {
        return Finding(
          service: service, address: address, isServing: false,
          state: "\(error.code): \(error.message)", consumer: nil)
      }
    }
  }

  /// nil without a token that may ask: health itself is open to everybody.
  private func status(
    _ service: ServiceName, _ channel: Channel, _ options: CallOptions
  ) async -> ProtoConsumerStatus? {
    switch service {
    case .ingest: nil
    case .userProfile:
      try? await UserProfileClient(channel).getStatus(ProtoGetProfileStatusRequest(), options: options)
    case .query:
      try? await QueryClient(channel).getStatus(ProtoGetQueryStatusRequest(), options: options)
    case .liveStats:
      try? await LiveStatsClient(channel).getStatus(ProtoGetLiveStatusRequest(), options: options)
    }
  }

  private func printTable(_ findings: [Finding]) {
    var table = TextTable([
      ("service", .left), ("address", .left), ("state", .left), ("log offset", .right),
      ("behind", .right), ("ingest", .left),
    ])
    for finding in findings {
      let consumer = finding.consumer
      table.add([
        finding.service.rawValue, "\(finding.address)", finding.state,
        consumer.map { NumberText.grouped($0.nextOffset) } ?? "",
        consumer.map { NumberText.grouped($0.lag) } ?? "",
        consumer.map { $0.connected ? "connected" : "not connected" } ?? "",
      ])
    }
    Printer.write(table.text)
  }

  private func printJSON(_ findings: [Finding]) {
    let parts = findings.map { finding in
      var text = "{\"service\":\"\(finding.service.rawValue)\""
      text += ",\"address\":\(JSONText.quoted("\(finding.address)"))"
      text += ",\"serving\":\(finding.isServing),\"state\":\(JSONText.quoted(finding.state))"
      if let consumer = finding.consumer {
        text += ",\"next_offset\":\(consumer.nextOffset),\"lag\":\(consumer.lag)"
        text += ",\"connected\":\(consumer.connected)"
      }
      return text + "}"
    }
    Printer.line("[\(parts.joined(separator: ","))]")
  }
}

extension ProtoConsumerStatus {
  /// Offsets that it has still to apply, as far as it knows.
  fileprivate var lag: UInt64 { logHeadOffset > nextOffset ? logHeadOffset - nextOffset : 0 }
}
