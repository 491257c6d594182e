internal import HTTP2

/// What a server sends.
extension ClientConnection {
  func headersCame(_ stream: StreamPointer, _ event: HTTP2Event) {
    guard let call = call(of: stream), !call.isOver else { return }
    hasServed = true
    if stream.pointee.flags.contains(.headersOverflowed) {
      return cancel(
        call,
        RPCError(
          .resourceExhausted,
          "response headers: at most \(limits.http2.headerFieldsMax) fields and \(limits.http2.headerBytesMax) bytes"
        ))
    }
    let head = ResponseHead(stream, event.block)
    // 1xx announce a response that is still to come.
    if let status = head.httpStatus, (100..<200).contains(status) { return }
    if let status = head.status, event.endStream {
      trailersCame(stream, event.block, call, head, status)
    } else if let http = head.httpStatus {
      guard http == 200, head.isGRPC else {
        // Its body is for people: nothing of it is read.
        return cancel(call, ResponseHead.error(httpStatus: http))
      }
      if !event.endStream { answerBegins(stream, event.block, call, head) }
    }
    if event.endStream { answerEnds(stream, call) }
  }

  private func answerBegins(
    _ stream: StreamPointer, _ block: HeaderBlock, _ call: ClientCall, _ head: ResponseHead
  ) {
    if let encoding = head.encoding { call.encoding = encoding }
    call.request.received?.setInitial(RequestHead.metadata(stream, block))
    call.answerBegins()
  }

  private func trailersCame(
    _ stream: StreamPointer, _ block: HeaderBlock, _ call: ClientCall, _ head: ResponseHead,
    _ status: StatusCode
  ) {
    if let pushback = head.pushback { call.pushedBack(pushback) }
    if status == .ok, call.request.received == nil {
      call.status = Self.ok
      return
    }
    let metadata = RequestHead.metadata(stream, block)
    call.request.received?.setTrailing(metadata)
    call.status = RPCError(status, head.message, metadata: metadata, details: head.details)
  }

  private static let ok = RPCError(.ok, "")

  /// The server will send no more. Where we have more to send nghttp2 keeps the stream: it is of no use any more, and freed by a
  /// reset (RFC 9113, 8.1).
  private func answerEnds(_ stream: StreamPointer, _ call: ClientCall) {
    dataCame(stream, call)
    guard !call.isOver, !stream.pointee.flags.contains(.closed),
      !stream.pointee.flags.contains(.outboundEnded) || stream.unsentBytes > 0
    else { return }
    conclude(stream, call, HTTP2ErrorCode.noError)
    http2.reset(stream, HTTP2ErrorCode.noError)
    driver.flush()
  }

  func dataCame(_ stream: StreamPointer, _ call: ClientCall) {
    while !call.isOver {
      guard case .known(let encoding) = call.encoding else { return unknownEncoding(stream, call) }
      switch MessageFraming.front(
        of: stream.unread, limit: limits.messageBytesMax, encoding: encoding)
      {
      case .failure(let error): return cancel(call, error)
      case .incomplete: return consumeRest(stream, call)
      case .message(let length): deliver(stream, call, length, packed: false)
      case .packed(let length): deliver(stream, call, length, packed: true)
      }
    }
  }

  private func deliver(_ stream: StreamPointer, _ call: ClientCall, _ length: Int, packed: Bool) {
    let end = MessageFraming.prefixBytes + length
    let message = Array(stream.unread[MessageFraming.prefixBytes..<end])
    stream.skip(end)
    figures.messagesReceived &+= 1
    figures.lastMessageReceived = MonotonicClock.now
    call.pipe.deliver(message, size: end, packed: packed)
  }

  /// Opens the window for a message that has come in part: its size is known to be within the limit.
  private func consumeRest(_ stream: StreamPointer, _ call: ClientCall) {
    let waiting = stream.unread.count
    guard waiting > 0 else { return }
    if stream.pointee.flags.contains(.remoteEnded), (call.status?.code ?? .ok) == .ok {
      call.status = RPCError(.internal, "the response ended within a message")
    }
    http2.consume(stream, call.pipe.open(waiting: waiting))
  }

  /// Messages that are not packed can be read whatever `grpc-encoding` says (grpc/doc/compression.md).
  private func unknownEncoding(_ stream: StreamPointer, _ call: ClientCall) {
    if stream.unread.first == 0 {
      call.encoding = .known(.identity)
      return dataCame(stream, call)
    }
    guard !stream.unread.isEmpty else { return }
    cancel(
      call, RPCError(.internal, "a message is packed with an encoding that is not \(MessageEncoding.accepted)"))
  }

  func closed(_ stream: StreamPointer, _ code: UInt32) {
    if let call = call(of: stream) { conclude(stream, call, code) }
    release(stream)
  }

  /// Gives a call its end: the status that came, or what stands for one that did not.
  private func conclude(_ stream: StreamPointer, _ call: ClientCall, _ code: UInt32) {
    if let status = call.status {
      status.code == .ok ? call.endOK() : call.end(status)
    } else if code == HTTP2ErrorCode.refusedStream || isBeyondGoAway(stream) {
      call.end(
        RPCError(.unavailable, "the server refused the call; it did not run", delivery: .notRun))
    } else if stream.pointee.flags.contains(.remoteEnded) {
      call.end(RPCError(.unknown, "the response ended without a grpc-status"))
    } else {
      call.end(ResponseHead.error(resetCode: code))
    }
  }

  private func isBeyondGoAway(_ stream: StreamPointer) -> Bool {
    goAway.map { stream.pointee.id > $0.lastStreamID } ?? false
  }
}
