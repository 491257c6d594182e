internal import HTTP2

/// The messages of streaming calls.
extension ServerConnection {
  /// Moves whole messages into the pipe. Their bytes open the window when the handler reads them; those of a message that is
  /// not whole yet open it at once, because only the message limit bounds them.
  func streamDataCame(_ stream: StreamPointer) {
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

  func moveOutput(of pipe: MessagePipe, to stream: StreamPointer, initial: Metadata) {
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

  func finishStream(_ streamID: Int32, _ failure: RPCError?, _ response: ResponseMetadata) {
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
