import Logging
import RPC
import RPCTransport
import Testing

/// All connections of a loop read into one buffer and write from one.
@Suite struct SharedBufferTests {
  @Test func `connections that read and write in turns keep their bytes apart`() async throws {
    let server = RPCServer(
      configuration: ServerConfiguration(port: 0), services: [ProbeService()],
      authorizer: OpenAuthorizer(), logger: Logger(label: "test"))
    let port = try await server.start()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for connection in 0..<8 {
        group.addTask {
          let channel = Channel(host: "127.0.0.1", port: port, token: nil)
          // Around the sizes of the buffers, and far beyond.
          for size in [1, 500, 512, 4_096, 16_384, 65_000, 65_536, 300_000] {
            let message = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ connection &* 31) }
            let answer = try await channel.unary(
              ProbeService.echo, message, options: CallOptions(timeoutMilliseconds: 20_000))
            #expect(answer == message)
          }
          await channel.close()
        }
      }
      try await group.waitForAll()
    }
    await server.shutdown(graceMilliseconds: 1_000)
  }
}
