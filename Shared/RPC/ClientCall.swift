internal import HTTP2
internal import Synchronization

/// One attempt of a client's call, on one connection.
// @unchecked: the `var`s are touched on the connection's event loop only; all else is immutable or locked.
package final class ClientCall: ClientStream, @unchecked Sendable {
  /// What is the same for all attempts of a call.
  package struct Request: Sendable {
    package let method: MethodDescriptor
    package let metadata: Metadata
    package let deadline: Deadline?
    package let compression: MessageEncoding
    package let received: ReceivedMetadata?

    package init(_ method: MethodDescriptor, _ options: CallOptions, deadline: Deadline?) {
      self.method = method
      metadata = options.metadata
      self.deadline = deadline
      compression = options.compression
      received = options.received
    }
  }

  package let request: Request
  /// Attempts before this one that count, as `grpc-previous-rpc-attempts` says.
  let previousAttempts: Int
  let pipe: MessagePipe
  let connection: ClientConnection
  /// What the trailers said; of a failure also what stands for them.
  var status: RPCError?
  var encoding = ResponseHead.Encoding.known(.identity)
  /// Waits for a place among the server's streams.
  var isQueued = false
  private let over = Atomic<Bool>(false)
  private let answered = Atomic<Bool>(false)
  private let pushed = Mutex<RetryPushback?>(nil)

  package init(_ request: Request, on connection: ClientConnection, previousAttempts: Int = 0) {
    self.request = request
    self.previousAttempts = previousAttempts
    self.connection = connection
    let limits = connection.limits
    pipe = MessagePipe(
      driver: connection.driver, owner: connection, stream: nil,
      unsentBytesMax: limits.unsentBytesMax, inbound: limits.unpackLimit,
      coding: OutboundCoding(
        encoding: request.compression, fromBytes: request.compression == .identity ? Int.max : 0,
        messageBytesMax: limits.requestBytesMax))
  }

  /// Sends the headers, and what has been queued already with them.
  package func start() {
    if connection.driver.isOnLoop {
      connection.begin(self)
    } else {
      connection.driver.execute { self.connection.begin(self) }
    }
  }

  var isOver: Bool { over.load(ordering: .relaxed) }

  /// Response headers have come, not a status alone: the call may not be repeated any more.
  package var hasAnswer: Bool { answered.load(ordering: .acquiring) }

  /// What the server said about repeating, once the call has failed.
  package var pushback: RetryPushback? { pushed.withLock { $0 } }

  func answerBegins() { answered.store(true, ordering: .releasing) }

  func pushedBack(_ pushback: RetryPushback) { pushed.withLock { $0 = pushback } }

  func endOK() {
    guard !over.exchange(true, ordering: .relaxed) else { return }
    pipe.deliverEnd()
    pipe.fail(RPCError(.ok, ""))
  }

  func end(_ error: RPCError) {
    guard !over.exchange(true, ordering: .relaxed) else { return }
    pipe.fail(error)
  }

  package func next() async throws -> [UInt8]? {
    do {
      return try await pipe.next()
    } catch let error as RPCError where error.code == .ok {
      return nil
    } catch is CancellationError {
      cancel()
      throw RPCError(.cancelled, "the call was cancelled")
    } catch {
      // A message that cannot be unpacked fails here, on the reader's side; the server need not send more.
      if !isOver { cancel() }
      throw error
    }
  }

  package func send(_ message: [UInt8]) async throws { try await send(message, compress: nil) }

  package func send(_ message: [UInt8], compress: Bool?) async throws {
    do {
      try await pipe.send(message, compress: compress)
    } catch let error as RPCError where error.code == .ok {
      throw RPCError(.cancelled, "the server has ended the call")
    } catch is CancellationError {
      cancel()
      throw RPCError(.cancelled, "the call was cancelled")
    }
  }

  /// Queues a message without waiting for room, before `start`: it leaves together with the headers.
  package func queue(_ message: [UInt8], compress: Bool? = nil) throws {
    _ = try pipe.enqueue(message, compress: compress)
  }

  /// Half-closes without waiting.
  package func endRequests() { pipe.finishSending() }

  package func finishSending() async throws { pipe.finishSending() }

  package func cancel() {
    let connection = connection
    let call = self
    let work: @Sendable () -> Void = {
      connection.cancel(call, RPCError(.cancelled, "the call was cancelled"))
    }
    if connection.driver.isOnLoop { work() } else { connection.driver.execute(work) }
  }
}
