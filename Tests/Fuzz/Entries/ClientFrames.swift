import HTTP2
import RPC

enum ClientFrames {
  // nonisolated(unsafe): one thread only.
  private nonisolated(unsafe) static let memory = SessionMemory()
  private static let calls = 3

  // @unchecked: one thread only.
  private final class Ended: @unchecked Sendable { var count = 0 }

  static func run(_ bytes: UnsafeRawBufferPointer) {
    let driver = InlineDriver()
    guard
      let connection = try? ClientConnection(
        driver: driver,
        headers: RequestHeaders(scheme: "http", authority: "fuzz", token: nil),
        limits: ClientLimits(),
        timers: ClientTimers(keepalive: ClientKeepalive(), idleMilliseconds: nil), memory: memory)
    else { preconditionFailure("no memory for a connection") }
    let ended = Ended()
    for _ in 0..<calls { begin(connection, driver, ended) }
    settle(connection, driver)
    for piece in Pieces(bytes) {
      do { try connection.receive(piece) } catch { break }
      settle(connection, driver)
    }
    connection.connectionLost("the end")
    driver.runWaiting()
    precondition(ended.count == calls, "a call outlives its connection")
    precondition(connection.http2.liveStreams == 0, "streams outlive their connection")
  }

  /// A call that reads all its answers.
  private static func begin(
    _ connection: ClientConnection, _ driver: InlineDriver, _ ended: Ended
  ) {
    let method = FuzzService.method("S", .bidirectional)
    let call = ClientCall(
      ClientCall.Request(method, CallOptions(), deadline: nil), on: connection)
    call.start()
    Task.immediate(executorPreference: driver.taskExecutor) {
      // However it ends: that it does is the promise.
      do { while try await call.next() != nil {} } catch {}
      ended.count += 1
    }
  }

  private static func settle(_ connection: ClientConnection, _ driver: InlineDriver) {
    driver.runWaiting()
    while connection.http2.nextOutput() != nil { connection.processEvents() }
    driver.runWaiting()
  }
}
