package import RPC
internal import Synchronization

/// Making calls.
extension Channel {
  package func unary(
    _ method: MethodDescriptor, _ request: [UInt8], options: CallOptions
  ) async throws -> [UInt8] {
    counters.started.wrappingAdd(1, ordering: .relaxed)
    if configuration.interceptors.isEmpty { return try await attempts(method, request, options, nil) }
    let intercepted = try intercept(method, options)
    return try await attempts(method, request, intercepted.call.options, intercepted)
  }

  private func intercept(
    _ method: MethodDescriptor, _ options: CallOptions
  ) throws -> InterceptedCall {
    do throws(RPCError) {
      return try InterceptedCall(
        OutgoingCall(method: method, options: options, beganNanoseconds: MonotonicClock.now),
        configuration.interceptors)
    } catch {
      counters.ended(error)
      throw error
    }
  }

  /// The one message of a unary call is here anyway: nothing is kept for a repetition, and `retryBytesMax` does not count.
  private func attempts(
    _ method: MethodDescriptor, _ message: [UInt8], _ options: CallOptions,
    _ intercepted: InterceptedCall?
  ) async throws -> [UInt8] {
    var retry = RetryMachine(configuration.retry, method)
    do {
      let request = try self.request(method, options)
      while true {
        do throws(AttemptFailure) {
          let answer = try await attempt(request, message, options, retry.attempts - 1)
          ended(nil, retry.attempts, intercepted)
          return answer
        } catch {
          try await wait(after: error, &retry, request.deadline)
        }
      }
    } catch {
      var failure = Self.rpcError(error)
      failure.attempts = retry.attempts
      ended(failure, retry.attempts, intercepted)
      throw failure
    }
  }

  /// A failed attempt, and the call that made it, if it came so far.
  struct AttemptFailure: Error {
    let error: RPCError
    let call: ClientCall?
    var isCommitted = false
  }

  private func attempt(
    _ request: ClientCall.Request, _ message: [UInt8], _ options: CallOptions, _ previous: Int
  ) async throws(AttemptFailure) -> [UInt8] {
    var call: ClientCall?
    do {
      let made = ClientCall(
        request,
        on: try await connection(waitForReady: options.waitForReady, deadline: request.deadline),
        previousAttempts: previous)
      try Self.queue(message, on: made)
      call = made
      made.start()
      return try await Self.oneAnswer(made)
    } catch {
      throw AttemptFailure(error: Self.rpcError(error), call: call)
    }
  }

  /// - Throws: RESOURCE_EXHAUSTED where the message is too large.
  private static func queue(_ message: [UInt8], on call: ClientCall) throws {
    do {
      try call.queue(message)
    } catch {
      var failure = rpcError(error)
      failure.delivery = .notSent
      throw failure
    }
    call.endRequests()
  }

  private static func oneAnswer(_ call: ClientCall) async throws -> [UInt8] {
    guard let answer = try await call.next() else {
      throw RPCError(.unimplemented, "the server answered OK without a message")
    }
    guard try await call.next() == nil else {
      call.cancel()
      throw RPCError(.unimplemented, "the server sent more than one message")
    }
    return answer
  }

  /// Returns when the next attempt may begin.
  ///
  /// - Throws: the failure, where there is to be none.
  func wait(
    after failure: AttemptFailure, _ retry: inout RetryMachine, _ deadline: Deadline?
  ) async throws {
    let error = failure.error
    // Without a call there was no connection: nothing that another attempt would find better.
    guard let call = failure.call else { throw error }
    let decision = retry.attemptFailed(
      RetryMachine.Failure(
        error.code, error.delivery, pushback: call.pushback,
        isCommitted: failure.isCommitted || call.hasAnswer),
      throttle: configuration.retryThrottle)
    switch decision {
    case .fail: throw error
    case .again: break
    case .after(let milliseconds):
      if let deadline, Double(deadline.remainingMilliseconds) <= milliseconds { throw error }
      try await Task.sleep(for: .microseconds(Int64(milliseconds * 1_000)))
    }
    call.request.received?.clear()
  }

  func ended(_ error: RPCError?, _ attempts: Int, _ intercepted: InterceptedCall?) {
    counters.ended(error)
    if error == nil { configuration.retryThrottle?.succeeded() }
    intercepted?.end(error, attempts: attempts)
  }

  static func rpcError(_ error: any Error) -> RPCError {
    switch error {
    case let error as RPCError: error
    case is CancellationError: RPCError(.cancelled, "the call was cancelled")
    default: RPCError(.unavailable, "the call failed", delivery: .mayHaveRun, cause: error)
    }
  }

  /// What all attempts of a call have in common.
  ///
  /// - Throws: INTERNAL with `ClientMisuse` where the call cannot be made as it is; DEADLINE_EXCEEDED where it is too late.
  func request(_ method: MethodDescriptor, _ options: CallOptions) throws -> ClientCall.Request {
    let deadline = options.deadline(of: method)
    if let deadline {
      if deadline.hasPassed {
        throw RPCError(
          .deadlineExceeded, "the call's deadline had passed before it began", delivery: .notSent)
      }
    } else if method.kind == .unary {
      throw ClientMisuse.missingDeadline(method).error
    }
    if let name = options.metadata.firstInvalidName { throw ClientMisuse.metadata(name).error }
    var options = options
    options.metadata.carryOn(CallContext.current)
    return ClientCall.Request(method, options, deadline: deadline)
  }

  package func open(
    _ method: MethodDescriptor, options: CallOptions
  ) async throws -> any ClientStream {
    counters.started.wrappingAdd(1, ordering: .relaxed)
    let intercepted =
      configuration.interceptors.isEmpty ? nil : try intercept(method, options)
    let options = intercepted?.call.options ?? options
    do {
      let request = try self.request(method, options)
      let first = try await begin(request, options, previousAttempts: 0)
      first.start()
      return ChannelStream(self, request, options, first, intercepted)
    } catch {
      let failure = Self.rpcError(error)
      ended(failure, 0, intercepted)
      throw failure
    }
  }

  /// An attempt that has not been started.
  func begin(
    _ request: ClientCall.Request, _ options: CallOptions, previousAttempts: Int
  ) async throws -> ClientCall {
    ClientCall(
      request,
      on: try await connection(waitForReady: options.waitForReady, deadline: request.deadline),
      previousAttempts: previousAttempts)
  }
}

/// A call that cannot be made as its caller wants it; the `cause` of the error that says so. Nothing of it was sent.
package enum ClientMisuse: Error, CustomStringConvertible {
  /// A unary call without a deadline would wait for ever for a server that hangs.
  case missingDeadline(MethodDescriptor)
  /// Metadata under a name that is reserved or that HTTP/2 does not allow, or a value that its name does not allow.
  case metadata(String)

  package var description: String {
    switch self {
    case .missingDeadline(let method):
      "\(method): a unary call needs a deadline, and neither the method nor the options have one"
    case .metadata(let name): "metadata \"\(name)\": not a name and value that gRPC allows"
    }
  }

  var error: RPCError { RPCError(.internal, description, delivery: .notSent, cause: self) }
}
