internal import HTTP2

/// From a request's headers to its handler.
extension ServerConnection {
  func headersCame(_ stream: StreamPointer) {
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

  static func headError(_ head: RequestHead) -> RPCError {
    if head.flags.contains(.badTimeout) {
      return RPCError(.internal, "grpc-timeout: 1 to 8 digits and one of H M S m u n")
    }
    var error = RPCError(.unimplemented, "grpc-encoding: only identity is accepted")
    error.metadata.add("grpc-accept-encoding", "identity")
    return error
  }

  @inline(__always)
  func dataCame(_ stream: StreamPointer) {
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
  func unaryDataCame(_ stream: StreamPointer) {
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
  func dispatch(_ stream: StreamPointer, _ message: UnsafeRawBufferPointer) {
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
  func method(of stream: StreamPointer) -> RoutedMethod {
    guard let pointer = stream.pointee.userHandle else {
      preconditionFailure("a call without a method")
    }
    return Unmanaged<RoutedMethod>.fromOpaque(pointer).takeUnretainedValue()
  }

  func context(_ stream: StreamPointer) -> CallContext {
    context(stream, response: ResponseMetadata())
  }

  func context(_ stream: StreamPointer, response: ResponseMetadata) -> CallContext {
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
}
