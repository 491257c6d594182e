internal import HTTP2
internal import Synchronization

/// A unary call on its event loop, with the request's bytes in place. Valid during the handler only: a handler that cannot
/// answer at once takes `park()` with it. Exactly one of `reply`, `fail`, `park` must be called.
package struct LoopCall {
  /// The encoded request, valid during the handler only.
  package let message: UnsafeRawBufferPointer
  /// Lives for as long as the handler runs: its references are not counted.
  let connection: Unmanaged<ServerConnection>
  let stream: StreamPointer

  /// Who calls.
  package var principal: Principal {
    @inline(__always) get {
      guard let pointer = stream.pointee.userPrincipal else {
        preconditionFailure("a call was dispatched without a principal")
      }
      return Unmanaged<Principal>.fromOpaque(pointer).takeUnretainedValue()
    }
  }

  /// Answers OK with an encoded response.
  @inline(__always)
  package func reply(_ message: UnsafeRawBufferPointer) {
    connection._withUnsafeGuaranteedRef { connection in
      guard let call = madeCall else { return connection.reply(stream, message) }
      connection.reply(stream, message, call)
    }
  }

  /// Answers OK with an encoded response.
  @inline(__always)
  package func reply(_ message: [UInt8]) { message.withUnsafeBytes { reply($0) } }

  /// The same, saying whether to compress it where the client takes gzip. On the loop: 10 ns per byte.
  package func reply(_ message: UnsafeRawBufferPointer, compress: Bool) {
    connection._withUnsafeGuaranteedRef { $0.reply(stream, message, compress: compress) }
  }

  package func fail(_ error: RPCError) {
    connection._withUnsafeGuaranteedRef { $0.fail(stream, error, call: madeCall) }
  }

  /// Metadata, deadline and peer; what the handler adds to it goes with the answer. Made when it is first asked for, which costs as much
  /// as all else that a call of a few bytes does: not for hot paths.
  package var context: CallContext {
    CallContext(madeCall ?? connection._withUnsafeGuaranteedRef { $0.keepCall(stream) })
  }

  /// What `context` was made of, where it was asked for.
  private var madeCall: ServerCall? {
    @inline(__always) get {
      stream.pointee.userObject.map { Unmanaged<ServerCall>.fromOpaque($0).takeUnretainedValue() }
    }
  }

  /// Takes the call out of the handler: it is answered later, from any thread. `message` does not go with it.
  package func park() -> ParkedCall { connection._withUnsafeGuaranteedRef { $0.park(stream) } }
}

/// A unary call that is answered later, from any thread, once. Dropped without an answer, it answers INTERNAL.
package final class ParkedCall: Sendable {
  let connection: ServerConnection
  let streamID: Int32
  private let coding: OutboundCoding
  private let answered = Atomic<Bool>(false)

  init(connection: ServerConnection, streamID: Int32, coding: OutboundCoding) {
    self.connection = connection
    self.streamID = streamID
    self.coding = coding
  }

  deinit {
    guard !answered.load(ordering: .relaxed) else { return }
    let (connection, streamID) = (connection, streamID)
    connection.driver.execute {
      connection.complete(
        streamID, .failure(RPCError(.internal, "the handler gave no answer")), call: nil)
    }
  }

  package func reply(_ message: [UInt8]) { complete(.success(coding.encode(message))) }

  /// The same, saying whether to compress it where the client takes gzip. Done on the caller's thread.
  package func reply(_ message: [UInt8], compress: Bool) {
    complete(.success(coding.encode(message, wish: compress)))
  }

  package func fail(_ error: RPCError) { complete(.failure(error)) }

  private func complete(_ result: Result<EncodedMessage, RPCError>) {
    guard !answered.exchange(true, ordering: .relaxed) else { return }
    let (connection, streamID) = (connection, streamID)
    if connection.driver.isOnLoop {
      connection.complete(streamID, result, call: nil)
    } else {
      connection.driver.execute { connection.complete(streamID, result, call: nil) }
    }
  }

  /// Answers many calls with one hop per event loop: how a group commit answers.
  package static func complete(_ answers: [(ParkedCall, Result<[UInt8], RPCError>)]) {
    var byLoop: [ObjectIdentifier: [(ParkedCall, Result<[UInt8], RPCError>)]] = [:]
    for answer in answers where !answer.0.answered.exchange(true, ordering: .relaxed) {
      byLoop[answer.0.connection.driver.loopIdentity, default: []].append(answer)
    }
    for answers in byLoop.values {
      answers[0].0.connection.driver.execute {
        for (call, result) in answers {
          call.connection.complete(
            call.streamID, result.map { call.coding.encode($0) }, call: nil)
        }
      }
    }
  }
}
