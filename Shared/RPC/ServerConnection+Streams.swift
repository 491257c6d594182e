internal import HTTP2

/// The messages of streaming calls.
extension ServerConnection {
  /// Moves whole messages into the pipe. Their bytes open the window when the handler reads them; those of a message that is
  /// not whole yet once all before it are read, because only the message limit bounds them.
  func streamDataCame(_ stream: StreamPointer) {
    guard let pipe = pipe(of: stream) else { return }
    pipe.beginBatch()
    let error = deliverMessages(stream, pipe)
    pipe.endBatch()
    if let error { cut(stream, error) }
  }

  /// Returns what breaks the call behind the messages that came whole.
  private func deliverMessages(_ stream: StreamPointer, _ pipe: MessagePipe) -> RPCError? {
    while true {
      let front = MessageFraming.front(
        of: stream.unread, limit: core.limits.messageBytesMax, encoding: encoding(of: stream))
      let length: Int
      var isPacked = false
      switch front {
      case .failure(let error):
        return error
      case .incomplete:
        let waiting = stream.unread.count
        if stream.pointee.flags.contains(.remoteEnded) {
          if waiting > 0 { return RPCError(.internal, "the request ended within a message") }
          pipe.deliverEnd()
          return nil
        }
        stream.pointee.userTouched = now
        http2.consume(stream, pipe.open(waiting: waiting))
        return nil
      case .message(let count): length = count
      case .packed(let count):
        length = count
        isPacked = true
      }
      let end = MessageFraming.prefixBytes + length
      let message = Array(stream.unread[MessageFraming.prefixBytes..<end])
      stream.skip(end)
      countReceived(stream, bytes: length)
      pipe.deliver(message, size: end, packed: isPacked)
    }
  }

  func pipeHasConsumed(_ pipe: MessagePipe, bytes: Int) {
    guard let stream = pipe.stream else { return }
    http2.consume(stream, bytes + pipe.open(waiting: stream.unread.count))
    if http2.withheldBytes > 0 { waitForCredit() }
    driver.flush()
  }

  func pipeHasOutput(_ pipe: MessagePipe) {
    guard let stream = pipe.stream,
      stream.pointee.userState == CallState.streaming
    else { return }
    moveOutput(of: pipe, to: stream)
    driver.flush()
  }

  func moveOutput(of pipe: MessagePipe, to stream: StreamPointer) {
    var messages = 0
    let (_, bytes) = pipe.takeOutput {
      stream.write($0)
      messages = MessageFraming.count($0)
    }
    guard bytes > 0 else { return }
    countSent(
      stream, messages: messages, bytes: bytes - messages * MessageFraming.prefixBytes,
      at: MonotonicClock.now)
    if stream.pointee.flags.contains(.outboundBegun) {
      http2.resume(stream)
    } else {
      begin(stream, pipe)
    }
    http2.notifyWhenDrained(stream)
  }

  /// Sends the headers of a stream's answer, with what the handler has added to them by then.
  private func begin(_ stream: StreamPointer, _ pipe: MessagePipe) {
    let initial = pipe.outboundCoding.call?.added.initial ?? Metadata()
    respond(stream, initialMetadata(stream, initial), gzip: pipe.namesEncoding)
  }

  func finishStream(_ streamID: Int32, _ failure: RPCError?, _ call: ServerCall) {
    guard let stream = open(streamID), stream.pointee.userState == CallState.streaming,
      let pipe = pipe(of: stream)
    else { return }
    method(of: stream).noteAnswer(pipe.largestMessage, loopBytesMax: core.limits.loopMessageBytesMax)
    moveOutput(of: pipe, to: stream)
    if let failure {
      return fail(stream, failure, call: call)
    }
    stream.pointee.userState = CallState.answered
    if !stream.pointee.flags.contains(.outboundBegun) { begin(stream, pipe) }
    end(stream, call.added.trailing)
    ended(stream, .ok)
    driver.flush()
  }
}
