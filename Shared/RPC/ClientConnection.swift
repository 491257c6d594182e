package import HTTP2

/// One connection of a client: calls in, HTTP/2 out. Confined to its event loop.
// @unchecked: its state is touched on its event loop only; other threads reach it by `driver.execute`.
package final class ClientConnection: @unchecked Sendable, PipeOwner {
  /// Why a server takes no more calls.
  package struct GoAway: Sendable, Equatable {
    package let code: UInt32
    package let lastStreamID: Int32
    /// The server's own words, at most 256 bytes.
    package let text: String

    /// We asked too often whether it is there (A8).
    package var isTooManyPings: Bool { code == HTTP2ErrorCode.enhanceYourCalm && text == "too_many_pings" }
  }

  package let http2: HTTP2Connection
  package let driver: any ConnectionDriver
  package let limits: ClientLimits
  let headers: RequestHeaders
  /// For channelz.
  package let id = ChannelzID.next()
  /// `127.0.0.1:51234`; set by the transport.
  package var localAddress = ""
  package var peerAddress = ""
  /// Not seen outside of the module, so that the compiler knows all accesses and checks none at run time.
  var figures = ConnectionFigures()
  /// The server's SETTINGS have come: the connection is good.
  package private(set) var isReady = false
  /// No new calls: the server said so, it was idle for long, or the transport is gone.
  package private(set) var isClosing = false
  package private(set) var goAway: GoAway?
  /// It has answered a call.
  var hasServed = false
  /// Told once, when `isReady` turns true.
  package var onReady: (() -> Void)?
  /// Told once, when no new calls are possible.
  package var onClosing: (() -> Void)?
  /// Asks for `timerFired` at a moment of the monotonic clock, instead of any earlier wish.
  package var onTimer: ((_ atNanoseconds: Int64) -> Void)?

  /// Calls that wait for a place among the streams that the server allows; those that are over stay until their turn.
  var queue = CallQueue()
  /// Requests given to nghttp2 and not closed. We count ourselves: one that nghttp2 holds back cannot be reset.
  var activeCalls = 0
  var activeCallsMax = 0
  var timers: ClientTimers
  /// The earliest moment that `onTimer` was asked for.
  var wakeAt = Int64.max

  /// - Throws: `HTTP2Error.outOfMemory`.
  package init(
    driver: any ConnectionDriver, headers: RequestHeaders, limits: ClientLimits,
    timers: ClientTimers, memory: SessionMemory
  ) throws(HTTP2Error) {
    self.driver = driver
    self.limits = limits
    self.headers = headers
    self.timers = timers
    http2 = try HTTP2Connection(role: .client, limits: limits.http2, memory: memory)
  }

  // MARK: - Called by the transport, on the loop

  package func receive(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    timers.bytesCame()
    try http2.receive(bytes)
    figures.bytesReceived &+= bytes.count
    processEvents()
  }

  package func processEvents() {
    while let event = http2.nextEvent() {
      switch event.kind {
      case .headers: if let stream = event.stream { headersCame(stream, event) }
      case .data:
        if let stream = event.stream {
          stream.dataHandled()
          if let call = call(of: stream) {
            call.pipe.beginBatch()
            dataCame(stream, call)
            call.pipe.endBatch()
          }
        }
      case .closed: if let stream = event.stream { closed(stream, event.code) }
      case .drained: if let stream = event.stream { call(of: stream)?.pipe.outputTaken() }
      case .goAway:
        goAway = GoAway(
          code: event.code, lastStreamID: event.lastStreamID, text: http2.goAwayText)
        beginClosing()
      case .settings: settingsCame()
      case .pingAcknowledged: break
      }
    }
  }

  private func settingsCame() {
    activeCallsMax = min(http2.peerConcurrentStreamsMax, limits.openCallsMax)
    if !isReady {
      isReady = true
      wake(by: timers.begin())
      onReady?()
      onReady = nil
    }
    beginQueued()
  }

  /// Whether it has answered a call, or has one that its server runs as far as anybody knows. Of a closing connection.
  package var isOfUse: Bool {
    let last = goAway?.lastStreamID ?? .max
    return hasServed || http2.openStreams.contains { $0.pointee.id <= last }
  }

  /// No new calls here: those that wait have not been sent, and go elsewhere.
  package func beginClosing() {
    guard !isClosing else { return }
    isClosing = true
    onClosing?()
    onClosing = nil
    while let call = queue.popFirst() { call.end(Self.takesNoMore) }
  }

  /// The transport is gone: all calls fail with UNAVAILABLE.
  package func connectionLost(_ reason: String) {
    beginClosing()
    for stream in http2.openStreams {
      call(of: stream)?.end(RPCError(.unavailable, reason))
      release(stream)
    }
    http2.tearDown()
  }

  /// Whether a closing connection has no call left.
  package var isIdle: Bool { http2.liveStreams == 0 }

  static let takesNoMore = RPCError(
    .unavailable, "the connection takes no more calls", delivery: .notSent)

  // MARK: - Calls

  /// Begins a call, on the loop. The call's queues may have been filled before.
  func begin(_ call: ClientCall) {
    guard !call.isOver else { return }
    guard !isClosing else { return call.end(Self.takesNoMore) }
    timers.callBegan()
    if let deadline = call.request.deadline { wake(by: deadline.nanoseconds) }
    if activeCalls < activeCallsMax, queue.isEmpty { return submit(call) }
    guard queue.count < limits.queuedCallsMax else {
      return call.end(
        RPCError(
          .resourceExhausted,
          "calls that wait for a stream of the connection: at most \(limits.queuedCallsMax)",
          delivery: .notSent))
    }
    queue.append(call)
  }

  private func beginQueued() {
    while activeCalls < activeCallsMax, let call = queue.popFirst() { submit(call) }
  }

  private func submit(_ call: ClientCall) {
    guard let stream = http2.request(headers.fields(of: call)) else {
      // nghttp2 has no identifier left, or has met a GOAWAY.
      beginClosing()
      return call.end(Self.takesNoMore)
    }
    activeCalls += 1
    figures.callsStarted &+= 1
    figures.lastCallStarted = MonotonicClock.now
    call.pipe.stream = stream
    stream.pointee.userObject = Unmanaged.passRetained(call).toOpaque()
    pipeHasOutput(call.pipe)
  }

  func cancel(_ call: ClientCall, _ error: RPCError) {
    var error = error
    if call.pipe.stream == nil { error.delivery = .notSent }
    call.end(error)
    if call.isQueued { queue.remove(call) }
    guard let stream = call.pipe.stream, !stream.pointee.flags.contains(.closed) else { return }
    http2.reset(stream, HTTP2ErrorCode.cancel)
    driver.flush()
  }

  func pipeHasConsumed(_ pipe: MessagePipe, bytes: Int) {
    guard let stream = pipe.stream else { return }
    http2.consume(stream, bytes + pipe.open(waiting: stream.unread.count))
    driver.flush()
  }

  func pipeHasOutput(_ pipe: MessagePipe) {
    guard let stream = pipe.stream else { return }
    var messages = 0
    let (ended, bytes) = pipe.takeOutput {
      stream.write($0)
      messages = MessageFraming.count($0)
    }
    if bytes > 0 {
      figures.messagesSent &+= messages
      figures.lastMessageSent = MonotonicClock.now
      http2.notifyWhenDrained(stream)
      http2.resume(stream)
    }
    if ended { http2.endBody(stream) }
    driver.flush()
  }

  func call(of stream: StreamPointer) -> ClientCall? {
    stream.pointee.userObject.map {
      Unmanaged<ClientCall>.fromOpaque($0).takeUnretainedValue()
    }
  }

  func release(_ stream: StreamPointer) {
    if let object = stream.pointee.userObject {
      if call(of: stream)?.status?.code == .ok {
        figures.callsSucceeded &+= 1
      } else {
        figures.callsFailed &+= 1
      }
      call(of: stream)?.pipe.stream = nil
      Unmanaged<ClientCall>.fromOpaque(object).release()
      activeCalls -= 1
    }
    http2.release(stream)
    beginQueued()
  }
}
