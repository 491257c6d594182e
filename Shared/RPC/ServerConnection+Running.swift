internal import HTTP2

/// Handlers that outlive their dispatch, and the deadlines of their calls.
extension ServerConnection {
  // MARK: - Handlers that take longer

  /// Keeps a task and its cancellation with the stream.
  final class RunningTask: Sendable {
    let box = TaskBox()
    let pipe: MessagePipe?
    init(pipe: MessagePipe?) { self.pipe = pipe }
  }

  func pipe(of stream: StreamPointer) -> MessagePipe? {
    stream.pointee.userObject.flatMap {
      Unmanaged<RunningTask>.fromOpaque($0).takeUnretainedValue().pipe
    }
  }

  func park(_ stream: StreamPointer) -> ParkedCall {
    precondition(stream.pointee.userState == CallState.dispatching, "a call was parked twice")
    stream.pointee.userState = CallState.running
    track(stream)
    return ParkedCall(connection: self, streamID: stream.pointee.id)
  }

  func run(
    _ stream: StreamPointer, _ routed: RoutedMethod, _ message: [UInt8],
    _ handler: @escaping @Sendable ([UInt8], CallContext) async throws -> [UInt8]
  ) {
    guard admit(stream) else { return }
    stream.pointee.userState = CallState.running
    let running = RunningTask(pipe: nil)
    stream.pointee.userObject = Unmanaged.passRetained(running).toOpaque()
    track(stream)
    let response = ResponseMetadata()
    let context = context(stream, response: response)
    let streamID = stream.pointee.id
    running.box.start(on: driver.taskExecutor) {
      let result: Result<[UInt8], RPCError>
      do {
        result = .success(try await handler(message, context))
      } catch {
        result = .failure(self.answer(to: error, of: routed))
      }
      self.onLoop { $0.complete(streamID, result, response: response) }
    }
  }

  func beginStream(
    _ stream: StreamPointer, _ routed: RoutedMethod,
    _ handler: @escaping @Sendable (
      RequestStream<[UInt8]>, ResponseWriter<[UInt8]>, CallContext
    ) async throws -> Void
  ) {
    guard admit(stream) else { return }
    stream.pointee.userState = CallState.streaming
    let streamID = stream.pointee.id
    let pipe = MessagePipe(
      driver: driver, owner: self, stream: stream,
      unsentBytesMax: core.limits.unsentBytesMax)
    let running = RunningTask(pipe: pipe)
    stream.pointee.userObject = Unmanaged.passRetained(running).toOpaque()
    track(stream)
    let response = ResponseMetadata()
    let context = context(stream, response: response)
    running.box.start(on: driver.taskExecutor) {
      var failure: RPCError?
      do {
        try await handler(
          RequestStream(source: pipe, coder: .bytes), ResponseWriter(sink: pipe, coder: .bytes),
          context)
      } catch {
        failure = self.answer(to: error, of: routed)
      }
      self.onLoop { [failure] in $0.finishStream(streamID, failure, response) }
    }
  }

  /// Refuses a call beyond the bound of running handlers.
  func admit(_ stream: StreamPointer) -> Bool {
    if running.count < core.limits.runningHandlersMax { return true }
    fail(
      stream,
      RPCError(
        .resourceExhausted,
        "at most \(core.limits.runningHandlersMax) calls of one connection run at once"))
    return false
  }

  func answer(to error: any Error, of routed: RoutedMethod) -> RPCError {
    if let error = error as? RPCError { return error }
    if error is CancellationError { return RPCError(.cancelled, "the call was cancelled") }
    core.observer.handlerFailed(routed.descriptor, error)
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
    let deadline = stream.pointee.userDeadline
    if deadline != 0, deadline < nextSweep { scheduleSweep(at: deadline) }
  }

  func untrack(_ stream: StreamPointer) {
    let index = Int(stream.pointee.userIndex)
    guard index >= 0 else { return }
    stream.pointee.userIndex = -1
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
    var earliest = Int64.max
    for stream in running where stream.pointee.userDeadline != 0 {
      if stream.pointee.userDeadline <= now {
        cut(stream, RPCError(.deadlineExceeded, "the call's deadline has passed"))
      } else {
        earliest = min(earliest, stream.pointee.userDeadline)
      }
    }
    if earliest != Int64.max { scheduleSweep(at: earliest) }
    driver.flush()
  }

  /// Answers with an error and stops the handler, in this order: its own last words come too late.
  func cut(_ stream: StreamPointer, _ error: RPCError) {
    fail(stream, error)
    cancel(stream, error)
  }

  func cancel(_ stream: StreamPointer, _ error: RPCError) {
    guard let object = stream.pointee.userObject else { return }
    let running = Unmanaged<RunningTask>.fromOpaque(object).takeUnretainedValue()
    running.pipe?.fail(error)
    running.box.cancel()
  }
}
