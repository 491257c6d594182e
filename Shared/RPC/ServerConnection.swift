package import HTTP2

/// One connection of a server: HTTP/2 events in, calls of handlers out. Confined to its event loop.
// @unchecked: its state is touched on its event loop only; other threads reach it by `driver.execute`.
package final class ServerConnection: @unchecked Sendable, PipeOwner {
  package let http2: HTTP2Connection
  let core: ServerCore
  package let driver: any ConnectionDriver
  package let peer: String

  /// Streams whose handlers run after their dispatch: parked, `async`, streaming. `userIndex` is the position.
  private var running: [StreamPointer] = []
  /// When the sweep for passed deadlines is due; `Int64.max`: none is scheduled.
  private var nextSweep = Int64.max
  private var drain = Drain.no
  private var now: Int64 = 0
  /// The client's preface and SETTINGS have come.
  package private(set) var hasSettings = false
  /// The transport is gone: late answers go nowhere.
  private var lost = false

  private enum Drain { case no, announced, final }

  /// Where a stream stands (`HTTP2Stream.userState`).
  private enum CallState {
    static let new: UInt32 = 0
    /// Unary: its message is coming.
    static let receiving: UInt32 = 1
    /// Its handler is being called on the loop.
    static let dispatching: UInt32 = 2
    /// Unary: its handler works elsewhere or later.
    static let running: UInt32 = 3
    static let streaming: UInt32 = 4
    static let answered: UInt32 = 5
  }

  /// - Throws: `HTTP2Error.outOfMemory`.
  package init(
    core: ServerCore, driver: any ConnectionDriver, peer: String, memory: SessionMemory
  ) throws(HTTP2Error) {
    self.core = core
    self.driver = driver
    self.peer = peer
    http2 = try HTTP2Connection(role: .server, limits: core.limits.http2, memory: memory)
  }

  // MARK: - Called by the transport, on the loop

  /// Takes bytes of the client and calls the handlers whose requests they complete.
  @inline(__always)
  package func receive(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    try http2.receive(bytes)
    now = MonotonicClock.now
    processEvents()
  }

  /// Handles what nghttp2 has reported; also after output was taken, because sending closes streams.
  @inline(__always)
  package func processEvents() {
    while let event = http2.nextEvent() {
      switch event.kind {
      case .headers: if let stream = event.stream { headersCame(stream) }
      case .data:
        if let stream = event.stream {
          stream.dataHandled()
          dataCame(stream)
        }
      case .closed: if let stream = event.stream { closed(stream, event.code) }
      case .drained: if let stream = event.stream { pipe(of: stream)?.outputTaken() }
      case .pingAcknowledged: finishAnnouncement()
      case .settings: hasSettings = true
      case .goAway: break
      }
    }
  }

  /// The transport is gone: all calls are cancelled.
  package func connectionLost() {
    guard !lost else { return }
    for stream in http2.openStreams { closed(stream, HTTP2ErrorCode.cancel) }
    lost = true
  }

  /// Begins a graceful end: the client is told, then, a round trip later, refused; what runs is finished.
  package func beginDrain() {
    guard case .no = drain else { return }
    drain = .announced
    http2.announceShutdown()
    http2.ping()
    driver.flush()
    // A client that does not answer the PING does not hold the end up.
    driver.schedule(afterNanoseconds: 1_000_000_000) { self.finishAnnouncement() }
  }

  private func finishAnnouncement() {
    guard case .announced = drain else { return }
    drain = .final
    http2.goAway(HTTP2ErrorCode.noError, "the server shuts down")
    driver.flush()
  }

  /// Whether a graceful end has come to its last call.
  package var isDrained: Bool {
    if case .final = drain { return http2.liveStreams == 0 }
    return false
  }

  private func open(_ streamID: Int32) -> StreamPointer? { lost ? nil : http2.stream(streamID) }

  // MARK: - Requests

  private func headersCame(_ stream: StreamPointer) {
    guard stream.pointee.userState == CallState.new else {
      // Trailers of the client: they end its side and carry nothing for us.
      if stream.pointee.flags.contains(.remoteEnded) { dataCame(stream) }
      return
    }
    stream.pointee.userStart = now
    if stream.pointee.flags.contains(.headersOverflowed) {
      let limits = core.limits.http2
      return refuse(
        stream,
        RPCError(
          .resourceExhausted,
          "request headers: at most \(limits.headerBytesMax) bytes and \(limits.headerFieldsMax) fields"))
    }
    let head = RequestHead(stream)
    guard head.flags.contains(.post) else { return refuse(stream, httpStatus: "405") }
    guard head.flags.contains(.grpc) else { return refuse(stream, httpStatus: "415") }
    guard let path = head.path, let method = core.router.method(path) else {
      let name = head.path.map { String(decoding: $0.prefix(256), as: UTF8.self) } ?? ""
      return refuse(stream, RPCError(.unimplemented, "unknown method \(name)"))
    }
    if !head.flags.isDisjoint(with: [.badTimeout, .unknownEncoding]) {
      return refuse(stream, Self.headError(head))
    }
    let routed = method._withUnsafeGuaranteedRef { $0 }
    do throws(RPCError) {
      let principal = try core.authorizer.authorize(
        routed.descriptor, authorization: head.authorization)
      stream.pointee.userPrincipal = Unmanaged.passRetained(principal).toOpaque()
    } catch {
      return refuse(stream, error, method: routed)
    }
    stream.pointee.userHandle = method.toOpaque()
    if let timeout = head.timeoutNanoseconds {
      stream.pointee.userDeadline = now &+ timeout
    }
    routed.statistics.began()
    if case .streaming(let handler) = routed.implementation {
      beginStream(stream, routed, handler)
    } else {
      stream.pointee.userState = CallState.receiving
    }
    if stream.pointee.flags.contains(.remoteEnded) { dataCame(stream) }
  }

  private static func headError(_ head: RequestHead) -> RPCError {
    if head.flags.contains(.badTimeout) {
      return RPCError(.internal, "grpc-timeout: 1 to 8 digits and one of H M S m u n")
    }
    var error = RPCError(.unimplemented, "grpc-encoding: only identity is accepted")
    error.metadata.add("grpc-accept-encoding", "identity")
    return error
  }

  @inline(__always)
  private func dataCame(_ stream: StreamPointer) {
    switch stream.pointee.userState {
    case CallState.receiving: unaryDataCame(stream)
    case CallState.streaming: streamDataCame(stream)
    default:
      // The call is answered already: what still comes is dropped.
      stream.skip(stream.unread.count)
      http2.consumeAll(stream)
    }
  }

  @inline(__always)
  private func unaryDataCame(_ stream: StreamPointer) {
    let bytes = stream.unread
    let ended = stream.pointee.flags.contains(.remoteEnded)
    switch MessageFraming.front(of: bytes, limit: core.limits.messageBytesMax) {
    case .failure(let error): fail(stream, error)
    case .incomplete:
      guard ended else { return http2.consumeAll(stream) }
      fail(
        stream,
        bytes.isEmpty
          ? RPCError(.unimplemented, "a unary call needs one message, this one has none")
          : RPCError(.internal, "the request ended within a message"))
    case .message(let length):
      let end = MessageFraming.prefixBytes &+ length
      if bytes.count > end {
        return fail(
          stream, RPCError(.unimplemented, "a unary call takes one message, this one has more"))
      }
      guard ended else { return http2.consumeAll(stream) }
      dispatch(
        stream, UnsafeRawBufferPointer(rebasing: bytes[MessageFraming.prefixBytes..<end]))
    }
  }

  @inline(__always)
  private func dispatch(_ stream: StreamPointer, _ message: UnsafeRawBufferPointer) {
    let routed = method(of: stream)
    switch routed.implementation {
    case .loop(let handler):
      stream.pointee.userState = CallState.dispatching
      handler(LoopCall(message: message, connection: self, stream: stream))
      if stream.pointee.userState == CallState.dispatching {
        fail(stream, RPCError(.internal, "the handler gave no answer"))
      }
    case .unary(let handler): run(stream, routed, Array(message), handler)
    case .streaming: preconditionFailure("a streaming call was dispatched as unary")
    }
  }

  @inline(__always)
  private func method(of stream: StreamPointer) -> RoutedMethod {
    guard let pointer = stream.pointee.userHandle else {
      preconditionFailure("a call without a method")
    }
    return Unmanaged<RoutedMethod>.fromOpaque(pointer).takeUnretainedValue()
  }

  func context(_ stream: StreamPointer) -> CallContext {
    context(stream, response: ResponseMetadata())
  }

  private func context(_ stream: StreamPointer, response: ResponseMetadata) -> CallContext {
    guard let pointer = stream.pointee.userPrincipal else {
      preconditionFailure("a call without a principal")
    }
    let deadline = stream.pointee.userDeadline
    return CallContext(
      method: method(of: stream).descriptor,
      principal: Unmanaged<Principal>.fromOpaque(pointer).takeUnretainedValue(),
      metadata: RequestHead.metadata(stream, stream.pointee.firstBlock),
      deadline: deadline == 0 ? nil : Deadline(nanoseconds: deadline), peer: peer,
      response: response)
  }

  // MARK: - Handlers that take longer

  /// Keeps a task and its cancellation with the stream.
  private final class RunningTask: Sendable {
    let box = TaskBox()
    let pipe: MessagePipe?
    init(pipe: MessagePipe?) { self.pipe = pipe }
  }

  private func pipe(of stream: StreamPointer) -> MessagePipe? {
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

  private func run(
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

  private func beginStream(
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
  private func admit(_ stream: StreamPointer) -> Bool {
    if running.count < core.limits.runningHandlersMax { return true }
    fail(
      stream,
      RPCError(
        .resourceExhausted,
        "at most \(core.limits.runningHandlersMax) calls of one connection run at once"))
    return false
  }

  private func answer(to error: any Error, of routed: RoutedMethod) -> RPCError {
    if let error = error as? RPCError { return error }
    if error is CancellationError { return RPCError(.cancelled, "the call was cancelled") }
    core.observer.handlerFailed(routed.descriptor, error)
    return RPCError(.unknown, "the handler failed")
  }

  private func onLoop(_ work: @escaping @Sendable (ServerConnection) -> Void) {
    if driver.isOnLoop {
      work(self)
    } else {
      driver.execute { work(self) }
    }
  }

  // MARK: - Deadlines

  private func track(_ stream: StreamPointer) {
    stream.pointee.userIndex = Int32(running.count)
    running.append(stream)
    let deadline = stream.pointee.userDeadline
    if deadline != 0, deadline < nextSweep { scheduleSweep(at: deadline) }
  }

  private func untrack(_ stream: StreamPointer) {
    let index = Int(stream.pointee.userIndex)
    guard index >= 0 else { return }
    stream.pointee.userIndex = -1
    let last = running.removeLast()
    if index < running.count {
      running[index] = last
      last.pointee.userIndex = Int32(index)
    }
  }

  private func scheduleSweep(at deadline: Int64) {
    nextSweep = deadline
    driver.schedule(afterNanoseconds: max(0, deadline &- MonotonicClock.now)) { [weak self] in
      self?.sweep(scheduledFor: deadline)
    }
  }

  private func sweep(scheduledFor deadline: Int64) {
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
  private func cut(_ stream: StreamPointer, _ error: RPCError) {
    fail(stream, error)
    cancel(stream, error)
  }

  private func cancel(_ stream: StreamPointer, _ error: RPCError) {
    guard let object = stream.pointee.userObject else { return }
    let running = Unmanaged<RunningTask>.fromOpaque(object).takeUnretainedValue()
    running.pipe?.fail(error)
    running.box.cancel()
  }

  // MARK: - Answers

  @inline(__always)
  func reply(_ stream: StreamPointer, _ message: UnsafeRawBufferPointer) {
    precondition(stream.pointee.userState == CallState.dispatching, "a call was answered twice")
    stream.pointee.userState = CallState.answered
    http2.respond(stream)
    stream.writeMessage(message)
    http2.endOK(stream)
    ended(stream, .ok)
  }

  /// The answer of a call that was parked or whose handler is `async`. A call that is over already is let be.
  func complete(
    _ streamID: Int32, _ result: Result<[UInt8], RPCError>, response: ResponseMetadata?
  ) {
    guard let stream = open(streamID), stream.pointee.userState == CallState.running else { return }
    switch result {
    case .failure(let error): fail(stream, error, response: response)
    case .success(let message):
      stream.pointee.userState = CallState.answered
      let (initial, trailing) = response?.snapshot ?? (Metadata(), Metadata())
      if initial.isEmpty { http2.respond(stream) } else { http2.respond(stream, Self.head(initial)) }
      message.withUnsafeBytes { stream.writeMessage($0) }
      if trailing.isEmpty {
        http2.endOK(stream)
      } else {
        http2.end(stream, trailers: Self.trailers(.ok, "", trailing, details: []))
      }
      ended(stream, .ok)
    }
    driver.flush()
  }

  func fail(_ stream: StreamPointer, _ error: RPCError) { fail(stream, error, response: nil) }

  private func fail(_ stream: StreamPointer, _ error: RPCError, response: ResponseMetadata?) {
    guard stream.pointee.userState != CallState.answered else { return }
    stream.pointee.userState = CallState.answered
    var metadata = error.metadata
    let (initial, trailing) = response?.snapshot ?? (Metadata(), Metadata())
    for entry in trailing.entries { metadata.add(entry.name, bytes: entry.value) }
    let trailers = Self.trailers(error.code, error.message, metadata, details: error.details)
    if stream.pointee.flags.contains(.outboundBegun) {
      http2.end(stream, trailers: trailers)
    } else if !initial.isEmpty {
      http2.respond(stream, Self.head(initial))
      http2.end(stream, trailers: trailers)
    } else {
      http2.respondOnly(stream, Self.head(Metadata()) + trailers)
    }
    ended(stream, error.code)
    driver.flush()
  }

  /// Answers a request that never became a call.
  private func refuse(_ stream: StreamPointer, _ error: RPCError, method: RoutedMethod? = nil) {
    if let method {
      method.statistics.began()
      stream.pointee.userHandle = Unmanaged.passUnretained(method).toOpaque()
    }
    fail(stream, error)
  }

  private func refuse(_ stream: StreamPointer, httpStatus: String) {
    stream.pointee.userState = CallState.answered
    http2.respondOnly(stream, [HeaderField(":status", httpStatus)])
  }

  @inline(__always)
  private func ended(_ stream: StreamPointer, _ status: StatusCode) {
    if stream.pointee.userIndex >= 0 { untrack(stream) }
    if let pointer = stream.pointee.userHandle {
      Unmanaged<RoutedMethod>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.statistics.ended(status, nanoseconds: MonotonicClock.now &- stream.pointee.userStart)
      }
    }
  }

  @inline(__always)
  private func closed(_ stream: StreamPointer, _ code: UInt32) {
    if stream.pointee.userState != CallState.answered {
      if stream.pointee.userState != CallState.new {
        stream.pointee.userState = CallState.answered
        ended(stream, .cancelled)
      }
      cancel(stream, RPCError(.cancelled, "the client cancelled the call"))
    } else if stream.pointee.userObject != nil {
      pipe(of: stream)?.fail(RPCError(.cancelled, "the call is over"))
    }
    if let object = stream.pointee.userObject {
      pipe(of: stream)?.stream = nil
      Unmanaged<RunningTask>.fromOpaque(object).release()
    }
    if let principal = stream.pointee.userPrincipal {
      Unmanaged<Principal>.fromOpaque(principal).release()
    }
    http2.release(stream)
  }

  private static func head(_ metadata: Metadata) -> [HeaderField] {
    [HeaderField(":status", "200"), HeaderField("content-type", "application/grpc")]
      + metadata.entries.map {
        HeaderField(name: Array($0.name.utf8), value: HeaderCoding.encode($0))
      }
  }

  private static func trailers(
    _ code: StatusCode, _ message: String, _ metadata: Metadata, details: [UInt8]
  ) -> [HeaderField] {
    var fields = [HeaderField("grpc-status", "\(code.rawValue)")]
    if !message.isEmpty {
      // The trailers must fit the peer's header limit, 8 KiB by custom.
      fields.append(
        HeaderField(
          name: Array("grpc-message".utf8),
          value: Array(HeaderCoding.percentEncode(message).prefix(4_096))))
    }
    if !details.isEmpty {
      fields.append(
        HeaderField(
          name: Array("grpc-status-details-bin".utf8), value: HeaderCoding.base64Encode(details)))
    }
    return fields
      + metadata.entries.map {
        HeaderField(name: Array($0.name.utf8), value: HeaderCoding.encode($0))
      }
  }

  // MARK: - Streams

  /// Moves whole messages into the pipe. Their bytes open the window when the handler reads them; those of a message that is
  /// not whole yet open it at once, because only the message limit bounds them.
  private func streamDataCame(_ stream: StreamPointer) {
    guard let pipe = pipe(of: stream) else { return }
    while true {
      switch MessageFraming.front(of: stream.unread, limit: core.limits.messageBytesMax) {
      case .failure(let error):
        return cut(stream, error)
      case .incomplete:
        let waiting = stream.unread.count
        if stream.pointee.flags.contains(.remoteEnded) {
          if waiting == 0 { return pipe.deliverEnd() }
          let error = RPCError(.internal, "the request ended within a message")
          return cut(stream, error)
        }
        return http2.consume(stream, waiting)
      case .message(let length):
        let end = MessageFraming.prefixBytes + length
        let bytes = stream.unread
        pipe.deliver(
          Array(bytes[MessageFraming.prefixBytes..<end]), cost: end)
        // The handler may have run inside `deliver` and answered.
        guard stream.pointee.userState == CallState.streaming else { return }
        stream.skip(end)
      }
    }
  }

  func pipeHasConsumed(_ pipe: MessagePipe, bytes: Int) {
    guard let stream = pipe.stream else { return }
    http2.consume(stream, bytes)
    driver.flush()
  }

  func pipeHasOutput(_ pipe: MessagePipe) {
    guard let stream = pipe.stream,
      stream.pointee.userState == CallState.streaming
    else { return }
    moveOutput(of: pipe, to: stream, initial: Metadata())
    driver.flush()
  }

  private func moveOutput(of pipe: MessagePipe, to stream: StreamPointer, initial: Metadata) {
    let (_, bytes) = pipe.takeOutput { stream.write($0) }
    guard bytes > 0 else { return }
    if stream.pointee.flags.contains(.outboundBegun) {
      http2.resume(stream)
    } else if initial.isEmpty {
      http2.respond(stream)
    } else {
      http2.respond(stream, Self.head(initial))
    }
    http2.notifyWhenDrained(stream)
  }

  private func finishStream(_ streamID: Int32, _ failure: RPCError?, _ response: ResponseMetadata) {
    guard let stream = open(streamID), stream.pointee.userState == CallState.streaming,
      let pipe = pipe(of: stream)
    else { return }
    let (initial, trailing) = response.snapshot
    moveOutput(of: pipe, to: stream, initial: initial)
    if let failure {
      return fail(stream, failure, response: response)
    }
    stream.pointee.userState = CallState.answered
    if !stream.pointee.flags.contains(.outboundBegun) {
      if initial.isEmpty { http2.respond(stream) } else { http2.respond(stream, Self.head(initial)) }
    }
    if trailing.isEmpty {
      http2.endOK(stream)
    } else {
      http2.end(stream, trailers: Self.trailers(.ok, "", trailing, details: []))
    }
    ended(stream, .ok)
    driver.flush()
  }
}
