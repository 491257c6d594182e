import RPC
import RPCTransport
import Testing

enum RawMethods {
  static let call = MethodDescriptor(
    service: "raw.Raw", method: "Call", kind: .unary, access: .open,
    defaultDeadlineMilliseconds: 20_000)
  static let idempotent = MethodDescriptor(
    service: "raw.Raw", method: "Idempotent", kind: .unary, access: .open,
    idempotency: .idempotent, defaultDeadlineMilliseconds: 20_000)
  static let stream = MethodDescriptor(
    service: "raw.Raw", method: "Stream", kind: .bidirectional, access: .open,
    idempotency: .idempotent, defaultDeadlineMilliseconds: 20_000)
}

/// Short waits: what is tested is that there are any.
func quickConfiguration() -> ChannelConfiguration {
  var configuration = ChannelConfiguration()
  configuration.backoffInitialMilliseconds = 20
  configuration.backoffMaxMilliseconds = 50
  configuration.resolveIntervalMilliseconds = 20
  return configuration
}

/// A raw server and a channel to it, for the time of a body.
func withRawServer(
  _ configuration: ChannelConfiguration = quickConfiguration(),
  script: @escaping @Sendable (RawPeer, Int) -> Void,
  _ body: (Channel, RawServer) async throws -> Void
) async throws {
  let server = try RawServer(script)
  let channel = Channel(
    host: "127.0.0.1", port: server.port, token: nil, configuration: configuration)
  try await body(channel, server)
  await channel.close()
  server.close()
}

/// A port for a server that will come back: below those that the system gives to others meanwhile.
func portToComeBackTo() -> Int { Int.random(in: 20_000...29_999) }

/// Waits until a condition holds, which nothing tells of; false: not within ten seconds.
func eventually(_ condition: () -> Bool) async -> Bool {
  let end = Deadline.after(milliseconds: 10_000)
  while !condition() {
    if end.hasPassed { return false }
    // Others need the thread to make it hold.
    try? await Task.sleep(for: .milliseconds(1))
  }
  return true
}
