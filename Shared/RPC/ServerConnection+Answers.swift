internal import HTTP2

/// From a handler's result to the client.
extension ServerConnection {
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

  func fail(_ stream: StreamPointer, _ error: RPCError, response: ResponseMetadata?) {
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
  func refuse(_ stream: StreamPointer, _ error: RPCError, method: RoutedMethod? = nil) {
    if let method {
      method.statistics.began()
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
    if let pointer = stream.pointee.userHandle {
      Unmanaged<RoutedMethod>.fromOpaque(pointer)._withUnsafeGuaranteedRef {
        $0.statistics.ended(status, nanoseconds: MonotonicClock.now &- stream.pointee.userStart)
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
      pipe(of: stream)?.stream = nil
      Unmanaged<RunningTask>.fromOpaque(object).release()
    }
    if let principal = stream.pointee.userPrincipal {
      Unmanaged<Principal>.fromOpaque(principal).release()
    }
    http2.release(stream)
  }

  static func head(_ metadata: Metadata) -> [HeaderField] {
    [HeaderField(":status", "200"), HeaderField("content-type", "application/grpc")]
      + metadata.entries.map {
        HeaderField(name: Array($0.name.utf8), value: HeaderCoding.encode($0))
      }
  }

  static func trailers(
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
}
