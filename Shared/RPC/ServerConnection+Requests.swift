internal import HTTP2

/// From a request's headers to its handler.
extension ServerConnection {
  func headersCame(_ stream: StreamPointer) {
    guard stream.pointee.userState == CallState.new else { return trailersCame(stream) }
    stream.pointee.userStart = now
    figures.callsStarted &+= 1
    figures.lastCallStarted = now
    // Cancelled, or broken, in the same bytes that began it: nobody waits for an answer, and what such calls cost is what an attack
    // with resets lives on.
    if stream.pointee.flags.contains(.closed) {
      stream.pointee.userState = CallState.answered
      figures.callsFailed &+= 1
      return
    }
    if stream.pointee.flags.contains(.headersOverflowed) {
      return refuse(stream, headersTooLarge())
    }
    let epoch = core.epoch?.value
    if lastHead.holds(for: stream, epoch: epoch), let method = lastHead.method,
      let principal = lastHead.principal
    {
      stream.pointee.userFlags = lastHead.flags
      stream.pointee.userPrincipal = Unmanaged.passRetained(principal).toOpaque()
      let timeout = lastHead.timeoutNanoseconds
      method._withUnsafeGuaranteedRef { begin(stream, $0, timeoutNanoseconds: timeout) }
      if stream.pointee.flags.contains(.remoteEnded) { dataCame(stream) }
      return
    }
    let head = RequestHead(stream)
    stream.pointee.userFlags = CallFlags.of(head) | TraceFlags.of(head)
    guard head.flags.contains(.post) else { return refuse(stream, httpStatus: "405") }
    guard head.flags.contains(.grpc) else { return refuse(stream, httpStatus: "415") }
    if !head.flags.contains(.te) { core.connections.requestsWithoutTE.add(1) }
    // The path is compared byte for byte, before any question of who asks: what is no method of ours is nobody's (CVE-2026-33186).
    guard let path = head.path, let method = core.routes.method(path) else {
      let name = head.path.map { String(decoding: $0.prefix(256), as: UTF8.self) } ?? ""
      return refuse(stream, RPCError(.unimplemented, "unknown method \(name)"))
    }
    if !head.flags.isDisjoint(with: [.badTimeout, .unknownEncoding]) {
      return refuse(stream, Self.headError(head))
    }
    method._withUnsafeGuaranteedRef { routed in
      guard letIn(stream, routed, head, epoch: epoch) else { return }
      begin(stream, routed, timeoutNanoseconds: head.timeoutNanoseconds)
    }
    if stream.pointee.flags.contains(.remoteEnded) { dataCame(stream) }
  }

  /// Asks who it is that calls. False: the request is refused.
  @inline(__always)
  private func letIn(
    _ stream: StreamPointer, _ routed: RoutedMethod, _ head: RequestHead, epoch: Int?
  ) -> Bool {
    do throws(RPCError) {
      if let known = lastAuthorization.principal(routed, head.authorization, epoch: epoch) {
        stream.pointee.userPrincipal = Unmanaged.passRetained(known).toOpaque()
        lastHead.note(stream, routed, head, epoch: epoch, known)
      } else {
        let principal = try authorize(routed, head, epoch)
        stream.pointee.userPrincipal = Unmanaged.passRetained(principal).toOpaque()
        lastHead.note(stream, routed, head, epoch: epoch, principal)
      }
      return true
    } catch {
      if error.code == .unauthenticated { http2.note(.failedAuthentications) }
      refuse(stream, error, method: routed)
      return false
    }
  }

  /// A request whose method and caller are known. In place: whatever is passed to a function of its own is counted.
  @inline(__always)
  private func begin(_ stream: StreamPointer, _ routed: RoutedMethod, timeoutNanoseconds: Int64?) {
    stream.pointee.userHandle = Unmanaged.passUnretained(routed).toOpaque()
    if let timeout = timeoutNanoseconds { stream.pointee.userDeadline = now &+ timeout }
    routed.statistics.began(loop: loop, at: now)
    if let error = overload(stream, routed) {
      narrowWindow(isRefused: true)
      return fail(stream, error)
    }
    if let gate = routed.gate {
      switch gate(principal(of: stream)) {
      case .open: break
      case .crowded: narrowWindow(isRefused: false)
      case .shut(let error):
        narrowWindow(isRefused: true)
        return fail(stream, error)
      }
    }
    if case .streaming = routed.kind {
      beginStream(stream, routed)
    } else {
      stream.pointee.userState = CallState.receiving
    }
  }

  @inline(never)
  private func authorize(
    _ routed: RoutedMethod, _ head: RequestHead, _ epoch: Int?
  ) throws(RPCError) -> Principal {
    let principal = try core.authorizer.authorize(
      routed.descriptor, authorization: head.authorization)
    lastAuthorization.note(routed, head.authorization, epoch: epoch, principal)
    return principal
  }

  /// Trailers of the client: they end its side and carry nothing for us.
  private func trailersCame(_ stream: StreamPointer) {
    if stream.pointee.flags.contains(.headersOverflowed) {
      if stream.pointee.userState != CallState.answered { cut(stream, headersTooLarge()) }
    } else if stream.pointee.flags.contains(.remoteEnded) {
      dataCame(stream)
    }
  }

  private func headersTooLarge() -> RPCError {
    let limits = core.limits.http2
    http2.note(.headerLimits, weight: Self.headerLimitWeight)
    return RPCError(
      .resourceExhausted,
      "request headers: at most \(limits.headerBytesMax) bytes and \(limits.headerFieldsMax) fields")
  }

  /// Headers beyond a limit are as bad as so many frames without use: they are decoded to their end.
  private static let headerLimitWeight = 5

  /// Why a call cannot run now; nil: it can. Cost: three loads and compares.
  @inline(__always)
  func overload(_ stream: StreamPointer, _ routed: RoutedMethod) -> RPCError? {
    if running.count < core.limits.runningHandlersMax,
      http2.unsentBytes <= core.limits.connectionUnsentBytesMax,
      !core.admission.isCrowded
        || core.admission.admits(routed.descriptor.priority, principal(of: stream))
    {
      return nil
    }
    return overloadError()
  }

  @inline(never)
  private func overloadError() -> RPCError {
    core.connections.refusedCalls.add(1)
    let limits = core.limits
    var error =
      if running.count >= limits.runningHandlersMax {
        RPCError(
          .resourceExhausted,
          "at most \(limits.runningHandlersMax) calls of one connection run at once")
      } else if http2.unsentBytes > limits.connectionUnsentBytesMax {
        RPCError(
          .resourceExhausted,
          "at most \(limits.connectionUnsentBytesMax) bytes wait on one connection, "
            + "\(http2.unsentBytes) do")
      } else {
        RPCError(
          .resourceExhausted,
          "the server is full: at most \(limits.runningCallsMax) calls run at once, and of one app "
            + "\(limits.runningCallsPerAppPercent) % of them once half are taken")
      }
    // Spread out, so that those who are refused together do not come back together; in steps, which header compression remembers.
    let pushback = limits.pushbackMilliseconds
    let step = Int(truncatingIfNeeded: MonotonicClock.now >> 10) & 7
    error.metadata.add("grpc-retry-pushback-ms", "\(pushback + pushback * step / 8)")
    return error
  }

  @inline(__always)
  func principal(of stream: StreamPointer) -> Principal {
    guard let pointer = stream.pointee.userPrincipal else {
      preconditionFailure("a call without a principal")
    }
    return Unmanaged<Principal>.fromOpaque(pointer).takeUnretainedValue()
  }

  static func headError(_ head: RequestHead) -> RPCError {
    if head.flags.contains(.badTimeout) {
      return RPCError(.internal, "grpc-timeout: 1 to 8 digits and one of H M S m u n")
    }
    var error = RPCError(
      .unimplemented, "grpc-encoding: one of \(MessageEncoding.accepted) is accepted")
    error.metadata.add("grpc-accept-encoding", MessageEncoding.accepted)
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
      http2.consumeAnswered(stream)
    }
  }

  @inline(__always)
  func unaryDataCame(_ stream: StreamPointer) {
    let bytes = stream.unread
    let ended = stream.pointee.flags.contains(.remoteEnded)
    switch MessageFraming.front(
      of: bytes, limit: core.limits.messageBytesMax, encoding: encoding(of: stream))
    {
    case .failure(let error): fail(stream, error)
    case .incomplete:
      guard ended else { return waitForMore(stream) }
      fail(
        stream,
        bytes.isEmpty
          ? RPCError(.unimplemented, "a unary call needs one message, this one has none")
          : RPCError(.internal, "the request ended within a message"))
    case .message(let length):
      guard isWhole(stream, bytes, length) else { return }
      dispatch(
        stream,
        UnsafeRawBufferPointer(
          rebasing: bytes[MessageFraming.prefixBytes..<(MessageFraming.prefixBytes &+ length)]))
    case .packed(let length):
      guard isWhole(stream, bytes, length) else { return }
      dispatchPacked(
        stream, UnsafeRawBufferPointer(rebasing: bytes[MessageFraming.prefixBytes...]))
    }
  }

  /// Whether a unary request consists of this one message and has ended; else it waits or has failed.
  @inline(__always)
  private func isWhole(
    _ stream: StreamPointer, _ bytes: UnsafeRawBufferPointer, _ length: Int
  ) -> Bool {
    if bytes.count > MessageFraming.prefixBytes &+ length {
      fail(stream, RPCError(.unimplemented, "a unary call takes one message, this one has more"))
      return false
    }
    if stream.pointee.flags.contains(.remoteEnded) { return true }
    waitForMore(stream)
    return false
  }

  private func waitForMore(_ stream: StreamPointer) {
    stream.pointee.userTouched = now
    http2.consumeAll(stream)
  }

  private func dispatchPacked(_ stream: StreamPointer, _ packed: UnsafeRawBufferPointer) {
    stream.pointee.userFlags |= CallFlags.packedRequest
    do throws(RPCError) {
      let limit = core.limits.unpackLimit.atMost(core.limits.loopMessageBytesMax)
      let message = try MessageFraming.unpack(packed, limit: limit)
      message.withUnsafeBytes { dispatch(stream, $0) }
    } catch {
      guard error.code == .resourceExhausted,
        core.limits.loopMessageBytesMax < core.limits.messageBytesMax
      else { return fail(stream, error) }
      unpackElsewhere(stream)
    }
  }

  /// For messages that are large once they are unpacked: the work would hold the loop up.
  private func unpackElsewhere(_ stream: StreamPointer) {
    guard admit(stream, method(of: stream)) else { return }
    stream.pointee.userState = CallState.running
    // Keeps the task, so that the call's end stops it.
    let call = keepCall(stream)
    track(stream)
    let (taken, streamID) = (stream.takeBody(), stream.pointee.id)
    let limit = core.limits.unpackLimit
    call.task.keep(
      Task.detached(executorPreference: driver.backgroundExecutor) {
        if Task.isCancelled { return taken.drop() }
        let packed = taken.array(from: MessageFraming.prefixBytes)
        let message = packed.withUnsafeBytes { packed in
          Result { () throws(RPCError) in try MessageFraming.unpack(packed, limit: limit) }
        }
        self.onLoop { $0.unpacked(streamID, message) }
      })
  }

  private func unpacked(_ streamID: Int32, _ message: Result<[UInt8], RPCError>) {
    guard let stream = open(streamID), stream.pointee.userState == CallState.running else { return }
    untrack(stream)
    if let object = stream.pointee.userObject {
      Unmanaged<ServerCall>.fromOpaque(object).release()
      stream.pointee.userObject = nil
    }
    stream.pointee.userState = CallState.receiving
    switch message {
    case .success(let message): message.withUnsafeBytes { dispatch(stream, $0, owned: message) }
    case .failure(let error): fail(stream, error)
    }
    driver.flush()
  }

  @inline(__always)
  func encoding(of stream: StreamPointer) -> MessageEncoding {
    stream.pointee.userFlags & CallFlags.gzip != 0 ? .gzip : .identity
  }

  @inline(__always)
  func dispatch(
    _ stream: StreamPointer, _ message: UnsafeRawBufferPointer, owned: [UInt8]? = nil
  ) {
    countReceived(stream, bytes: message.count)
    withMethod(of: stream) { routed in
      guard case .loop = routed.kind else { return run(stream, routed, message, owned) }
      stream.pointee.userState = CallState.dispatching
      routed.onLoop(
        LoopCall(message: message, connection: Unmanaged.passUnretained(self), stream: stream))
      if stream.pointee.userState == CallState.dispatching {
        fail(stream, RPCError(.internal, "the handler gave no answer"))
      }
    }
  }

  /// The method of a call, without counting a reference: the server keeps its methods for as long as connections live.
  @inline(__always)
  func withMethod(of stream: StreamPointer, _ body: (RoutedMethod) -> Void) {
    guard let pointer = stream.pointee.userHandle else {
      preconditionFailure("a call without a method")
    }
    Unmanaged<RoutedMethod>.fromOpaque(pointer)._withUnsafeGuaranteedRef(body)
  }

  @inline(__always)
  func method(of stream: StreamPointer) -> RoutedMethod {
    guard let pointer = stream.pointee.userHandle else {
      preconditionFailure("a call without a method")
    }
    return Unmanaged<RoutedMethod>.fromOpaque(pointer).takeUnretainedValue()
  }

  /// The object that a call is kept in for its handler, from here on until its stream is closed.
  func keepCall(_ stream: StreamPointer) -> ServerCall {
    let flags = stream.pointee.userFlags
    let call = ServerCall(
      method: method(of: stream).descriptor, principal: principal(of: stream),
      metadata: flags & CallFlags.metadata != 0 ? KeptMetadata(stream) : KeptMetadata(),
      deadline: stream.pointee.userDeadline, peer: peer,
      requestWasCompressed: flags & CallFlags.packedRequest != 0, seed: seed(of: stream))
    stream.pointee.userObject = Unmanaged.passRetained(call).toOpaque()
    return call
  }
}
