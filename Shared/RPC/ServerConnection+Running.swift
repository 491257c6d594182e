internal import HTTP2

/// Handlers that outlive their dispatch, and the deadlines of their calls.
extension ServerConnection {
  // MARK: - Handlers that take longer

  func pipe(of stream: StreamPointer) -> MessagePipe? {
    stream.pointee.userObject.flatMap {
      Unmanaged<ServerCall>.fromOpaque($0).takeUnretainedValue().pipe
    }
  }

  func park(_ stream: StreamPointer) -> ParkedCall {
    precondition(stream.pointee.userState == CallState.dispatching, "a call was parked twice")
    stream.pointee.userState = CallState.running
    track(stream)
    return ParkedCall(
      connection: self, streamID: stream.pointee.id, coding: coding(of: stream))
  }

  @inline(never)
  func run(
    _ stream: StreamPointer, _ routed: RoutedMethod, _ message: UnsafeRawBufferPointer,
    _ owned: [UInt8]?
  ) {
    guard case .unary(let handler) = routed.implementation else {
      preconditionFailure("a streaming call was dispatched as unary")
    }
    guard admit(stream, routed) else { return }
    stream.pointee.userState = CallState.running
    let call = keepCall(stream)
    track(stream)
    let coding = coding(of: stream, call: call)
    let streamID = stream.pointee.id
    if message.count >= core.limits.loopMessageBytesMax {
      // A packed message has been unpacked into memory that is not the stream's.
      let isInPlace = stream.pointee.userFlags & CallFlags.packedRequest == 0
      let taken = isInPlace ? stream.takeBody() : nil
      let copy = isInPlace ? [] : owned ?? Array(message)
      call.task.keep(
        Task.detached(executorPreference: driver.backgroundExecutor) {
          // Whoever has waited until the call was over does nothing.
          if Task.isCancelled {
            taken?.drop()
            return
          }
          // Megabytes are copied there too.
          let message = taken?.array(from: MessageFraming.prefixBytes) ?? copy
          await self.perform(call, routed, streamID, coding, message, handler)
        })
      return
    }
    let message = Array(message)
    // In place, three times: through a function of its own the closure would be wrapped in another, one allocation more for each
    // call.
    if routed.hasLargeAnswers {
      call.task.keep(
        Task.detached {
          await self.perform(call, routed, streamID, coding, message, handler)
        })
      return
    }
    call.task.keep(
      Task.immediate(executorPreference: driver.taskExecutor) {
        await self.perform(call, routed, streamID, coding, message, handler)
      })
  }

  @inline(__always)
  private func perform(
    _ call: ServerCall, _ routed: RoutedMethod, _ streamID: Int32, _ coding: OutboundCoding,
    _ message: [UInt8], _ handler: @Sendable ([UInt8], CallContext) async throws -> [UInt8]
  ) async {
    let result: Result<EncodedMessage, RPCError>
    do {
      let answer = try await CallContext.$current.withValue(CallContext(call)) {
        try await handler(message, CallContext(call))
      }
      routed.noteAnswer(answer.count, loopBytesMax: core.limits.loopMessageBytesMax)
      try coding.check(answer.count)
      result = .success(coding.encode(answer))
    } catch {
      result = .failure(self.answer(to: error, CallContext(call)))
    }
    // Without a closure, which would be an allocation, where the handler has stayed on its loop.
    if driver.isOnLoop {
      complete(streamID, result, call: call)
    } else {
      driver.execute { self.complete(streamID, result, call: call) }
    }
  }

  @inline(never)
  func beginStream(_ stream: StreamPointer, _ routed: RoutedMethod) {
    guard case .streaming(let handler) = routed.implementation else {
      preconditionFailure("a unary call was begun as a stream")
    }
    guard admit(stream, routed) else { return }
    stream.pointee.userState = CallState.streaming
    let streamID = stream.pointee.id
    let call = keepCall(stream)
    let pipe = MessagePipe(
      driver: driver, owner: self, stream: stream,
      unsentBytesMax: core.limits.unsentBytesMax, inbound: core.limits.unpackLimit,
      coding: coding(of: stream, call: call))
    call.pipe = pipe
    track(stream)
    let body: @Sendable () async -> Void = {
      var failure: RPCError?
      do {
        try await CallContext.$current.withValue(CallContext(call)) {
          try await handler(
            RequestStream(source: pipe, coder: .bytes), ResponseWriter(sink: pipe, coder: .bytes),
            CallContext(call))
        }
      } catch {
        failure = self.answer(to: error, CallContext(call))
      }
      self.onLoop { [failure] in $0.finishStream(streamID, failure, call) }
    }
    if routed.hasLargeAnswers {
      call.task.keep(Task.detached(operation: body))
    } else {
      call.task.keep(Task.immediate(executorPreference: driver.taskExecutor, operation: body))
    }
  }

  /// Refuses a call beyond a bound: others may have begun since its headers came.
  func admit(_ stream: StreamPointer, _ routed: RoutedMethod) -> Bool {
    guard let error = overload(stream, routed) else { return true }
    fail(stream, error)
    return false
  }

  func answer(to error: any Error, _ context: CallContext) -> RPCError {
    if let error = error as? RPCError { return error }
    if error is CancellationError { return RPCError(.cancelled, "the call was cancelled") }
    core.observer.handlerFailed(context.method, error, requestID: context.requestID)
    return RPCError(.unknown, "the handler failed")
  }

  func onLoop(_ work: @escaping @Sendable (ServerConnection) -> Void) {
    if driver.isOnLoop {
      work(self)
    } else {
      driver.execute { work(self) }
    }
  }

  // MARK: - Deadlines

  func track(_ stream: StreamPointer) {
    stream.pointee.userIndex = Int32(running.count)
    running.append(stream)
    core.admission.began(principal(of: stream))
    let deadline = stream.pointee.userDeadline
    if deadline != 0, deadline < nextSweep, isNear(deadline) { scheduleSweep(at: deadline) }
  }

  /// Whether a moment comes before the next look at all timers. Only such ones are scheduled: what a loop has scheduled outlives its
  /// connection, and a client may name a deadline of a hundred years with every call.
  func isNear(_ moment: Int64) -> Bool {
    moment &- MonotonicClock.now <= Int64(core.limits.sweepMilliseconds) &* 1_000_000
  }

  func untrack(_ stream: StreamPointer) {
    let index = Int(stream.pointee.userIndex)
    guard index >= 0 else { return }
    stream.pointee.userIndex = -1
    core.admission.ended(principal(of: stream))
    let last = running.removeLast()
    if index < running.count {
      running[index] = last
      last.pointee.userIndex = Int32(index)
    }
  }

  func scheduleSweep(at deadline: Int64) {
    nextSweep = deadline
    driver.schedule(afterNanoseconds: max(0, deadline &- MonotonicClock.now)) { [weak self] in
      self?.sweep(scheduledFor: deadline)
    }
  }

  func sweep(scheduledFor deadline: Int64) {
    // A sweep that an earlier one has replaced does nothing.
    guard deadline == nextSweep else { return }
    nextSweep = Int64.max
    let now = MonotonicClock.now
    for stream in running where stream.pointee.userDeadline != 0 {
      if stream.pointee.userDeadline <= now {
        cut(stream, RPCError(.deadlineExceeded, "the call's deadline has passed"))
      }
    }
    scheduleNearDeadline()
    driver.flush()
  }

  /// Wakes up for the earliest deadline of a running call that comes before the next look at all timers.
  func scheduleNearDeadline() {
    var earliest = nextSweep
    for stream in running where stream.pointee.userDeadline != 0 {
      earliest = min(earliest, stream.pointee.userDeadline)
    }
    if earliest < nextSweep, isNear(earliest) { scheduleSweep(at: earliest) }
  }

  /// Answers with an error and stops the handler, in this order: its own last words come too late.
  func cut(_ stream: StreamPointer, _ error: RPCError) {
    fail(stream, error)
    cancel(stream, error)
  }

  func cancel(_ stream: StreamPointer, _ error: RPCError) {
    guard let object = stream.pointee.userObject else { return }
    let call = Unmanaged<ServerCall>.fromOpaque(object).takeUnretainedValue()
    call.pipe?.fail(error)
    driver.cancelling { call.task.cancel() }
  }
}
