internal import HTTP2

/// From a handler's result to the client.
extension ServerConnection {
  @inline(__always)
  func reply(_ stream: StreamPointer, _ message: UnsafeRawBufferPointer) {
    precondition(stream.pointee.userState == CallState.dispatching, "a call was answered twice")
    guard stream.pointee.userFlags & (CallFlags.encodings | TraceFlags.named) == 0, hasRoom(for: message.count) else {
      let asked = coding(of: stream).fromBytes <= message.count
      return reply(
        stream, message, compress: asked && message.count < core.limits.loopMessageBytesMax)
    }
    stream.pointee.userState = CallState.answered
    http2.respond(stream, encoding: .nothing)
    stream.writeMessage(message, packed: false)
    http2.endOK(stream)
    countSent(stream, bytes: message.count, at: now)
    ended(stream, .ok)
  }

  /// The same for a handler that may have added something to the answer.
  func reply(_ stream: StreamPointer, _ message: UnsafeRawBufferPointer, _ call: ServerCall) {
    if call.addsNothing, !call.compressesMessages { return reply(stream, message) }
    precondition(stream.pointee.userState == CallState.dispatching, "a call was answered twice")
    guard coding(of: stream, call: call).packs(message.count, wish: nil),
      message.count <= core.limits.responseBytesMax
    else { return answer(stream, message, isPacked: false, call: call) }
    Gzip.pack(message).withUnsafeBytes { answer(stream, $0, isPacked: true, call: call) }
  }

  /// The same for a client that negotiates encodings or named the call, or a message beyond a bound.
  func reply(_ stream: StreamPointer, _ message: UnsafeRawBufferPointer, compress: Bool) {
    precondition(stream.pointee.userState == CallState.dispatching, "a call was answered twice")
    let packs = coding(of: stream).packs(message.count, wish: compress)
    guard packs else { return answer(stream, message, isPacked: false, call: nil) }
    if message.count > core.limits.responseBytesMax { return fail(stream, tooLarge(message.count)) }
    Gzip.pack(message).withUnsafeBytes { answer(stream, $0, isPacked: true, call: nil) }
  }

  /// The answer of a call that was parked or whose handler is `async`. A call that is over already is let be.
  func complete(
    _ streamID: Int32, _ result: Result<EncodedMessage, RPCError>, call: ServerCall?
  ) {
    guard let stream = open(streamID), stream.pointee.userState == CallState.running else { return }
    switch result {
    case .failure(let error): fail(stream, error, call: call)
    case .success(let message):
      message.bytes.withUnsafeBytes {
        answer(stream, $0, isPacked: message.isPacked, call: call)
      }
    }
    driver.flush()
  }

  private func answer(
    _ stream: StreamPointer, _ message: UnsafeRawBufferPointer, isPacked: Bool,
    call: ServerCall?
  ) {
    guard hasRoom(for: message.count) else {
      return fail(stream, tooLarge(message.count), call: call)
    }
    stream.pointee.userState = CallState.answered
    let (initial, trailing) = call?.added ?? (Metadata(), Metadata())
    respond(stream, initialMetadata(stream, initial), gzip: isPacked)
    stream.writeMessage(message, packed: isPacked)
    countSent(stream, bytes: message.count, at: MonotonicClock.now)
    end(stream, trailing)
    ended(stream, .ok)
  }

  @inline(__always)
  private func hasRoom(for count: Int) -> Bool {
    count <= core.limits.responseBytesMax
      && http2.unsentBytes &+ count <= core.limits.connectionUnsentBytesMax
  }

  @inline(never)
  private func tooLarge(_ count: Int) -> RPCError {
    let limits = core.limits
    return count > limits.responseBytesMax
      ? RPCError(
        .resourceExhausted,
        "response message: at most \(limits.responseBytesMax) bytes, this one has \(count)")
      : RPCError(
        .resourceExhausted,
        "response: at most \(limits.connectionUnsentBytesMax) bytes wait on one connection, "
          + "\(http2.unsentBytes) do and this one has \(count)")
  }

  /// How a call's messages are sent.
  func coding(
    of stream: StreamPointer, call: ServerCall? = nil
  ) -> OutboundCoding {
    let accepts = stream.pointee.userFlags & CallFlags.acceptsGzip != 0
    return OutboundCoding(
      encoding: accepts ? .gzip : .identity,
      fromBytes: accepts ? core.limits.compressResponsesFromBytes : Int.max,
      messageBytesMax: core.limits.responseBytesMax, call: call)
  }

  /// Begins an answer with a body.
  func respond(_ stream: StreamPointer, _ initial: Metadata, gzip: Bool) {
    let announced: HTTP2Connection.AnnouncedEncoding =
      gzip ? .gzip : stream.pointee.userFlags & CallFlags.encodings != 0 ? .accepted : .nothing
    if initial.isEmpty { return http2.respond(stream, encoding: announced) }
    var fields = head(initial)
    if announced != .nothing {
      fields.append(HeaderField("grpc-accept-encoding", MessageEncoding.accepted))
    }
    if announced == .gzip {
      fields.append(HeaderField("grpc-encoding", MessageEncoding.gzip.rawValue))
    }
    http2.respond(stream, fields)
  }

  func end(_ stream: StreamPointer, _ trailing: Metadata) {
    if trailing.isEmpty {
      http2.endOK(stream)
    } else {
      http2.end(stream, trailers: trailers(RPCError(.ok, ""), trailing))
    }
  }

  func fail(_ stream: StreamPointer, _ error: RPCError) { fail(stream, error, call: nil) }

  func fail(_ stream: StreamPointer, _ error: RPCError, call: ServerCall?) {
    guard stream.pointee.userState != CallState.answered else { return }
    stream.pointee.userState = CallState.answered
    let (initial, trailing) = call?.added ?? (Metadata(), Metadata())
    var error = error
    // Whoever reports a failure can name the call.
    error.metadata.add(RequestID.header, requestID(of: stream))
    let trailers = trailers(error, trailing)
    if stream.pointee.flags.contains(.outboundBegun) {
      http2.end(stream, trailers: trailers)
    } else if !initial.isEmpty {
      http2.respond(stream, head(initial))
      http2.end(stream, trailers: trailers)
    } else {
      http2.respondOnly(stream, head(Metadata()) + trailers)
    }
    ended(stream, error.code)
    driver.flush()
  }

  /// Answers a request that never became a call.
  func refuse(_ stream: StreamPointer, _ error: RPCError, method: RoutedMethod? = nil) {
    if let method {
      method.statistics.began(loop: loop, at: now)
      stream.pointee.userHandle = Unmanaged.passUnretained(method).toOpaque()
    }
    fail(stream, error)
  }

  func refuse(_ stream: StreamPointer, httpStatus: String) {
    stream.pointee.userState = CallState.answered
    http2.respondOnly(stream, [HeaderField(":status", httpStatus)])
  }

  @inline(__always)
  func ended(_ stream: StreamPointer, _ status: StatusCode) {
    if stream.pointee.userIndex >= 0 { untrack(stream) }
    if status == .ok { figures.callsSucceeded &+= 1 } else { figures.callsFailed &+= 1 }
    if isToBeTold(stream, status) { tell(stream, status) }
    if let pointer = stream.pointee.userHandle {
      Unmanaged<RoutedMethod>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.statistics.ended(
          loop: loop, status, nanoseconds: MonotonicClock.now &- stream.pointee.userStart)
      }
    }
  }

  @inline(__always)
  func closed(_ stream: StreamPointer, _ code: UInt32) {
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
      let call = Unmanaged<ServerCall>.fromOpaque(object).takeRetainedValue()
      // They hold each other: the pipe asks the call how to send.
      call.pipe?.stream = nil
      call.pipe = nil
    }
    if let principal = stream.pointee.userPrincipal {
      Unmanaged<Principal>.fromOpaque(principal).release()
    }
    http2.release(stream)
  }

  private func head(_ metadata: Metadata) -> [HeaderField] {
    [HeaderField(":status", "200"), HeaderField("content-type", "application/grpc")]
      + metadata.entries.map { HeaderField($0) }
  }

  /// Status, message, details and metadata, in this order, as far as the budget goes: trailers beyond the client's header limit would
  /// cost it the status too. A field that does not fit is left out whole, the message is cut.
  private func trailers(_ error: RPCError, _ trailing: Metadata) -> [HeaderField] {
    var fields = [HeaderField("grpc-status", "\(error.code.rawValue)")]
    // For `:status` and `content-type` of a Trailers-Only answer, and the status itself.
    var room = core.limits.trailerBytesMax - 160
    func add(_ field: HeaderField) {
      let cost = field.name.count + field.value.count + 32
      guard cost <= room else { return }
      room -= cost
      fields.append(field)
    }
    if !error.message.isEmpty {
      add(
        HeaderField(
          name: Array("grpc-message".utf8),
          value: HeaderCoding.percentEncode(error.message, bytesMax: room / 2 - 48)))
    }
    if !error.details.isEmpty {
      add(
        HeaderField(
          name: Array("grpc-status-details-bin".utf8), value: HeaderCoding.base64Encode(error.details),
          isIndexed: false))
    }
    for entry in error.metadata.entries { add(HeaderField(entry)) }
    for entry in trailing.entries { add(HeaderField(entry)) }
    return fields
  }
}
