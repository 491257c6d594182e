internal import Synchronization

/// One call of a client.
// @unchecked: `status` is touched on the connection's event loop only; all else is immutable or locked.
package final class ClientCall: ClientStream, @unchecked Sendable {
  let method: MethodDescriptor
  let metadata: Metadata
  let deadline: Deadline?
  let pipe: MessagePipe
  let connection: ClientConnection
  /// What the trailers said; of a failure also what stands for them.
  var status: RPCError?
  private let over = Atomic<Bool>(false)

  package init(
    connection: ClientConnection, method: MethodDescriptor, metadata: Metadata,
    deadline: Deadline?, unsentBytesMax: Int = 256 * 1024
  ) {
    self.connection = connection
    self.method = method
    self.metadata = metadata
    self.deadline = deadline
    pipe = MessagePipe(
      driver: connection.driver, owner: connection, stream: nil, unsentBytesMax: unsentBytesMax)
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
    }
  }

  package func send(_ message: [UInt8]) async throws {
    do {
      try await pipe.send(message)
    } catch let error as RPCError where error.code == .ok {
      throw RPCError(.cancelled, "the server has ended the call")
    }
  }

  /// Queues the one request of a unary call, before `start`, so that headers and message leave together.
  package func queue(_ message: [UInt8]) throws {
    _ = try pipe.enqueue(message)
    pipe.finishSending()
  }

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
