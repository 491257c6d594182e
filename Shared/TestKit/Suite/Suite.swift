internal import Foundation
package import Messages
internal import RPC
internal import RPCTransport
internal import ServiceKit

/// The four services as real processes over one data folder, with clients of each.
package final class Suite: Sendable {
  package let folder: TemporaryFolder
  package let ingest: SuiteProcess
  package let userProfile: SuiteProcess
  package let query: SuiteProcess
  package let liveStats: SuiteProcess

  package var consumers: [SuiteProcess] { [userProfile, query, liveStats] }

  /// Nothing runs yet.
  package init() throws {
    folder = try TemporaryFolder("suite")
    let ingestPort = try FreePort.find()
    ingest = try SuiteProcess(.ingest, data: folder.path, ingestPort: ingestPort)
    userProfile = try SuiteProcess(.userProfile, data: folder.path, ingestPort: ingestPort)
    query = try SuiteProcess(.query, data: folder.path, ingestPort: ingestPort)
    liveStats = try SuiteProcess(.liveStats, data: folder.path, ingestPort: ingestPort)
  }

  deinit { for process in [ingest] + consumers { process.kill() } }

  /// Starts all that does not run.
  package func start() async throws {
    for process in [ingest] + consumers where !process.isRunning { try await process.start() }
  }

  /// The token of the administrator, which ingest writes at its first start.
  package func adminToken() throws -> String {
    try SecretFile.read(folder.file("admin.token"))
  }

  /// An app, and a token for it with these scopes.
  package func makeApp(_ app: ProtoApp, scopes: [String]) async throws -> String {
    let channel = ingest.channel(token: try adminToken())
    let client = IngestClient(channel)
    var create = ProtoCreateAppRequest()
    create.app = app
    _ = try await client.createApp(create)
    var token = ProtoCreateTokenRequest()
    token.appID = app.appID
    token.scopes = scopes
    let secret = try await client.createToken(token).secret
    await channel.close()
    return secret
  }

  /// The offset that ingest's next event gets.
  package func headOffset() async throws -> UInt64 {
    let channel = ingest.channel(token: try adminToken())
    let head = try await IngestClient(channel).getLogStatus(ProtoGetLogStatusRequest()).headOffset
    await channel.close()
    return head
  }

  /// How far a consumer has come.
  ///
  /// - Parameter token: with the consumer's scope.
  package func status(_ process: SuiteProcess, token: String) async throws -> ProtoConsumerStatus {
    let channel = process.channel(token: token)
    let status: ProtoConsumerStatus
    switch process.service {
    case .userProfile:
      status = try await UserProfileClient(channel).getStatus(ProtoGetProfileStatusRequest())
    case .query: status = try await QueryClient(channel).getStatus(ProtoGetQueryStatusRequest())
    case .liveStats:
      status = try await LiveStatsClient(channel).getStatus(ProtoGetLiveStatusRequest())
    case .ingest: preconditionFailure("ingest follows nobody")
    }
    await channel.close()
    return status
  }

  /// Waits until every running consumer has applied the log up to an offset.
  package func waitForConsumers(
    upTo offset: UInt64, token: String, timeoutMilliseconds: Int = 30_000
  ) async throws {
    let deadline = Deadline.after(milliseconds: timeoutMilliseconds)
    for process in consumers where process.isRunning {
      while true {
        // Until the consumer has heard of the token, it refuses it.
        let status = try? await status(process, token: token)
        if let status, status.nextOffset >= offset { break }
        if deadline.hasPassed {
          throw ChildProcess.Failure(
            description: """
              \(process.service.rawValue) stands at \(status?.nextOffset ?? 0), not \(offset)
              \(process.output.suffix(2_000))
              """)
        }
        try await Task.sleep(for: .milliseconds(20))
      }
    }
  }
}
