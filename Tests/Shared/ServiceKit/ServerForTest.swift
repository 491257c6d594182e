import Logging
import RPC
import RPCTransport

/// A server on a free port and a channel to it, closed whatever the test does.
struct ServerForTest {
  let channel: Channel

  static func with(
    _ services: [any ServiceHandlers], authorizer: any Authorizer = OpenAuthorizer(),
    token: String? = nil, _ body: (ServerForTest) async throws -> Void
  ) async throws {
    let server = RPCServer(
      configuration: ServerConfiguration(port: 0), services: services, authorizer: authorizer,
      logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }))
    let port = try await server.start()
    let channel = Channel(host: "127.0.0.1", port: port, token: token)
    let result: Result<Void, any Error>
    do {
      result = .success(try await body(ServerForTest(channel: channel)))
    } catch {
      result = .failure(error)
    }
    await channel.close()
    await server.shutdown(graceMilliseconds: 1_000)
    try result.get()
  }
}
