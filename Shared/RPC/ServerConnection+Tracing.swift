internal import HTTP2

/// Names of calls, and what is counted and told of them.
extension ServerConnection {
  // MARK: - Names

  func seed(of stream: StreamPointer) -> CallSeed { seed.call(stream.pointee.id) }

  /// The caller's name for the call where it sent a valid one, else ours.
  func requestID(of stream: StreamPointer) -> String {
    var found: String?
    stream.forEachHeader(in: stream.pointee.firstBlock) { known, name, value in
      if known == .custom, found == nil, RequestHead.isRequestID(name), RequestID.isValid(value) {
        found = String(decoding: value, as: UTF8.self)
      }
    }
    return found ?? seed(of: stream).requestID
  }

  /// The call's own place in the caller's chain of calls, or in a new one.
  func trace(of stream: StreamPointer) -> CallTrace {
    var parent: CallTrace?
    stream.forEachHeader(in: stream.pointee.firstBlock) { known, name, value in
      if known == .custom, name.elementsEqual(RequestID.traceHeader.utf8) {
        parent = CallTrace(traceparent: value)
      }
    }
    return seed(of: stream).trace(under: parent)
  }

  /// Whether the caller gave the call a name: it gets it back.
  @inline(__always)
  func isNamed(_ stream: StreamPointer) -> Bool {
    stream.pointee.userFlags & TraceFlags.named != 0
  }

  /// The initial metadata of an answer that goes well.
  @inline(__always)
  func initialMetadata(_ stream: StreamPointer, _ own: Metadata) -> Metadata {
    guard isNamed(stream) else { return own }
    var metadata = own
    metadata.add(RequestID.header, requestID(of: stream))
    return metadata
  }

  // MARK: - Counting

  /// Without counting references. A request that never reached a method has none.
  @inline(__always)
  private func withStatistics(of stream: StreamPointer, _ body: (MethodStatistics) -> Void) {
    guard let pointer = stream.pointee.userHandle else { return }
    Unmanaged<RoutedMethod>.fromOpaque(pointer)._withUnsafeGuaranteedRef { body($0.statistics) }
  }

  @inline(__always)
  func countReceived(_ stream: StreamPointer, bytes: Int) {
    withStatistics(of: stream) { $0.received(loop: loop, bytes: bytes) }
    stream.pointee.userRequestBytes &+= bytes
    figures.messagesReceived &+= 1
    figures.lastMessageReceived = now
  }

  @inline(__always)
  func countSent(_ stream: StreamPointer, messages: Int = 1, bytes: Int, at moment: Int64) {
    withStatistics(of: stream) { $0.sent(loop: loop, messages: messages, bytes: bytes) }
    stream.pointee.userResponseBytes &+= bytes
    figures.messagesSent &+= messages
    figures.lastMessageSent = moment
  }

  // MARK: - Telling

  @inline(__always)
  func isToBeTold(_ stream: StreamPointer, _ status: StatusCode) -> Bool {
    if CallSampling.isFault(status) { return true }
    let threshold = core.sampling.threshold
    return threshold != 0 && seed(of: stream).sample < threshold
  }

  @inline(never)
  func tell(_ stream: StreamPointer, _ status: StatusCode) {
    let method = stream.pointee.userHandle.map {
      Unmanaged<RoutedMethod>.fromOpaque($0).takeUnretainedValue().descriptor
    }
    let principal = stream.pointee.userPrincipal.map {
      Unmanaged<Principal>.fromOpaque($0).takeUnretainedValue()
    }
    core.observer.callEnded(
      CallRecord(
        method: method, status: status,
        nanoseconds: MonotonicClock.now &- stream.pointee.userStart,
        requestBytes: stream.pointee.userRequestBytes,
        responseBytes: stream.pointee.userResponseBytes, peer: peer,
        tokenID: principal?.tokenID ?? "", appID: principal?.appID,
        requestID: requestID(of: stream), traceID: trace(of: stream).traceID,
        isFault: CallSampling.isFault(status)))
  }
}

/// What is remembered of a call's names in `HTTP2Stream.userFlags`.
enum TraceFlags {
  /// The caller sent an `x-request-id`.
  static let named: UInt32 = 0x100

  @inline(__always)
  static func of(_ head: RequestHead) -> UInt32 { head.flags.contains(.named) ? named : 0 }
}
