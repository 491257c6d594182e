package import HTTP2

/// Bounds of a client's connection.
package struct ClientLimits: Sendable {
  package var http2 = HTTP2Limits()
  /// Bytes of one response message.
  package var messageBytesMax = 4 * 1024 * 1024
  /// Bytes that a call may have unsent before `send` waits.
  package var unsentBytesMax = 256 * 1024

  package init() {
    http2.streamWindowBytes = 4 * 1024 * 1024
    http2.connectionWindowBytes = 16 * 1024 * 1024
  }
}

/// One connection of a client: calls in, HTTP/2 out. Confined to its event loop.
// @unchecked: its state is touched on its event loop only; other threads reach it by `driver.execute`.
package final class ClientConnection: @unchecked Sendable, PipeOwner {
  package let http2: HTTP2Connection
  package let driver: any ConnectionDriver
  private let limits: ClientLimits
  private let authority: String
  /// The server's SETTINGS have come: the connection is good.
  package private(set) var isReady = false
  /// No new calls: the server said so, or the transport is gone.
  package private(set) var isClosing = false
  /// Told once, when `isReady` turns true.
  package var onReady: (() -> Void)?
  /// Told once, when no new calls are possible.
  package var onClosing: (() -> Void)?
  private var goAway: (code: UInt32, lastStreamID: Int32)?

  /// - Throws: `HTTP2Error.outOfMemory`.
  package init(
    driver: any ConnectionDriver, authority: String, limits: ClientLimits, memory: SessionMemory
  ) throws(HTTP2Error) {
    self.driver = driver
    self.limits = limits
    self.authority = authority
    http2 = try HTTP2Connection(role: .client, limits: limits.http2, memory: memory)
  }

  // MARK: - Called by the transport, on the loop

  package func receive(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    try http2.receive(bytes)
    processEvents()
  }

  package func processEvents() {
    while let event = http2.nextEvent() {
      switch event.kind {
      case .headers: if let stream = event.stream { headersCame(stream, event.block) }
      case .data:
        if let stream = event.stream {
          stream.dataHandled()
          if let call = call(of: stream) { dataCame(stream, call) }
        }
      case .closed: if let stream = event.stream { closed(stream, event.code) }
      case .drained: if let stream = event.stream { call(of: stream)?.pipe.outputTaken() }
      case .goAway:
        goAway = (event.code, event.lastStreamID)
        beginClosing()
      case .settings:
        if !isReady {
          isReady = true
          onReady?()
          onReady = nil
        }
      case .pingAcknowledged: break
      }
    }
  }

  private func beginClosing() {
    guard !isClosing else { return }
    isClosing = true
    onClosing?()
    onClosing = nil
  }

  /// The transport is gone: all calls fail with UNAVAILABLE.
  package func connectionLost(_ reason: String) {
    beginClosing()
    for stream in http2.openStreams {
      finish(stream, RPCError(.unavailable, reason))
      release(stream)
    }
  }

  /// Whether a closing connection has no call left.
  package var isIdle: Bool { http2.liveStreams == 0 }

  // MARK: - Calls

  /// Begins a call, on the loop. The call's queues may have been filled before.
  func begin(_ call: ClientCall) {
    guard !isClosing, let stream = http2.request(fields(of: call)) else {
      call.end(RPCError(.unavailable, "the connection takes no more calls"))
      return
    }
    call.pipe.stream = stream
    stream.pointee.userObject = Unmanaged.passRetained(call).toOpaque()
    if let deadline = call.deadline {
      driver.schedule(afterNanoseconds: max(0, deadline.nanoseconds &- MonotonicClock.now)) {
        [weak self, weak call] in
        guard let self, let call, !call.isOver else { return }
        self.cancel(call, RPCError(.deadlineExceeded, "the call's deadline has passed"))
      }
    }
    pipeHasOutput(call.pipe)
  }

  private func fields(of call: ClientCall) -> [HeaderField] {
    var fields = [
      HeaderField(":method", "POST"), HeaderField(":scheme", "http"),
      HeaderField(":path", call.method.path), HeaderField(":authority", authority),
      HeaderField("content-type", "application/grpc"), HeaderField("te", "trailers"),
      HeaderField("user-agent", "grpc-swift-footfall/1.0"),
    ]
    if let deadline = call.deadline {
      fields.append(
        HeaderField(
          "grpc-timeout", HeaderCoding.timeout(milliseconds: deadline.remainingMilliseconds)))
    }
    for entry in call.metadata.entries {
      fields.append(
        HeaderField(name: Array(entry.name.utf8), value: HeaderCoding.encode(entry)))
    }
    return fields
  }

  func cancel(_ call: ClientCall, _ error: RPCError) {
    call.end(error)
    // A request whose headers still wait for a place among the server's streams cannot be reset; the server gets its
    // deadline with it.
    guard let stream = call.pipe.stream, http2.stream(stream.pointee.id) != nil else { return }
    http2.reset(stream, HTTP2ErrorCode.cancel)
    driver.flush()
  }

  func pipeHasConsumed(_ pipe: MessagePipe, bytes: Int) {
    guard let stream = pipe.stream else { return }
    http2.consume(stream, bytes)
    driver.flush()
  }

  func pipeHasOutput(_ pipe: MessagePipe) {
    guard let stream = pipe.stream else { return }
    let (ended, bytes) = pipe.takeOutput { stream.write($0) }
    if bytes > 0 {
      http2.notifyWhenDrained(stream)
      http2.resume(stream)
    }
    if ended { http2.endBody(stream) }
    driver.flush()
  }

  private func call(of stream: StreamPointer) -> ClientCall? {
    stream.pointee.userObject.map {
      Unmanaged<ClientCall>.fromOpaque($0).takeUnretainedValue()
    }
  }

  // MARK: - Answers

  private func headersCame(_ stream: StreamPointer, _ block: HeaderBlock) {
    guard let call = call(of: stream) else { return }
    if stream.pointee.flags.contains(.headersOverflowed) {
      return cancel(
        call,
        RPCError(
          .resourceExhausted, "response headers: at most \(limits.http2.headerBytesMax) bytes"))
    }
    let head = ResponseHead(stream, block)
    // 1xx announce a response that is still to come.
    if let status = head.httpStatus, (100..<200).contains(status) { return }
    if let status = head.status {
      call.status = RPCError(
        status, head.message,
        metadata: RequestHead.metadata(stream, block), details: head.details)
    } else if let http = head.httpStatus, http != 200 || !head.isGRPC {
      call.status = ResponseHead.error(httpStatus: http)
    }
    if stream.pointee.flags.contains(.remoteEnded) { dataCame(stream, call) }
  }

  private func dataCame(_ stream: StreamPointer, _ call: ClientCall) {
    while true {
      switch MessageFraming.front(of: stream.unread, limit: limits.messageBytesMax) {
      case .failure(let error): return cancel(call, error)
      case .incomplete:
        let waiting = stream.unread.count
        if waiting > 0, stream.pointee.flags.contains(.remoteEnded), call.status == nil {
          call.status = RPCError(.internal, "the response ended within a message")
        }
        return http2.consume(stream, waiting)
      case .message(let length):
        let end = MessageFraming.prefixBytes + length
        let message = Array(stream.unread[MessageFraming.prefixBytes..<end])
        stream.skip(end)
        call.pipe.deliver(message, cost: end)
      case .packed: preconditionFailure("a packed message of a call without an encoding")
      }
    }
  }

  private func closed(_ stream: StreamPointer, _ code: UInt32) {
    if let call = call(of: stream), let status = call.status {
      status.code == .ok ? call.endOK() : call.end(status)
    } else if code == HTTP2ErrorCode.refusedStream || beyondGoAway(stream) {
      finish(stream, RPCError(.unavailable, "the server refused the call; it did not run"))
    } else {
      finish(stream, ResponseHead.error(resetCode: code))
    }
    release(stream)
  }

  private func beyondGoAway(_ stream: StreamPointer) -> Bool {
    goAway.map { stream.pointee.id > $0.lastStreamID } ?? false
  }

  private func finish(_ stream: StreamPointer, _ error: RPCError) { call(of: stream)?.end(error) }

  private func release(_ stream: StreamPointer) {
    if let object = stream.pointee.userObject {
      call(of: stream)?.pipe.stream = nil
      Unmanaged<ClientCall>.fromOpaque(object).release()
    }
    http2.release(stream)
  }
}
