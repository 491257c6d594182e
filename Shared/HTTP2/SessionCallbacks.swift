internal import CNghttp2

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// nghttp2's callbacks and options, the same for all sessions. They only record what happened: no callback runs code of the
/// owner, and none pumps the session.
// @unchecked: everything in it is written once, here, and only read afterwards.
final class SessionCallbacks: @unchecked Sendable {
  static let shared = SessionCallbacks()

  let table: OpaquePointer
  let clientOptions: OpaquePointer
  let serverOptions: OpaquePointer
  let responseFields: UnsafeMutablePointer<nghttp2_nv>
  let okTrailers: UnsafeMutablePointer<nghttp2_nv>

  private init() {
    var table: OpaquePointer?
    precondition(nghttp2_session_callbacks_new(&table) == 0, "no memory for nghttp2's callbacks")
    guard let table else { preconditionFailure("nghttp2 gave no callbacks") }
    self.table = table
    clientOptions = Self.options()
    serverOptions = Self.options()
    // A server judges its requests itself: see `RequestRules`.
    nghttp2_option_set_no_http_messaging(serverOptions, 1)
    responseFields = .allocate(capacity: 4)
    responseFields[0] = Self.constant(":status", "200")
    responseFields[1] = Self.constant("content-type", "application/grpc")
    responseFields[2] = Self.constant("grpc-accept-encoding", "identity,gzip")
    responseFields[3] = Self.constant("grpc-encoding", "gzip")
    okTrailers = .allocate(capacity: 1)
    okTrailers[0] = Self.constant("grpc-status", "0")

    nghttp2_session_callbacks_set_unpack_extension_callback(table) { _, _, _, _ in
      NGHTTP2_ERR_CANCEL.rawValue
    }
    nghttp2_session_callbacks_set_on_begin_frame_callback(table, Self.beginFrame)
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(table, Self.invalidFrameReceived)
    nghttp2_session_callbacks_set_on_begin_headers_callback(table, Self.beginHeaders)
    nghttp2_session_callbacks_set_on_header_callback2(table, Self.header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, Self.dataChunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, Self.frameReceived)
    nghttp2_session_callbacks_set_on_frame_send_callback(table, Self.frameSent)
    nghttp2_session_callbacks_set_on_stream_close_callback(table, Self.streamClosed)
  }

  private static func options() -> OpaquePointer {
    var made: OpaquePointer?
    precondition(nghttp2_option_new(&made) == 0, "no memory for nghttp2's options")
    guard let options = made else { preconditionFailure("nghttp2 gave no options") }
    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_option_set_max_settings(options, 32)
    // A client's token may be empty, `authorization: Bearer `: that is UNAUTHENTICATED, not a broken stream.
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(options, 1)
    // Also a server's bound for clients that leave answers unread: see `HTTP2Limits.outboundFramesMax`.
    nghttp2_option_set_max_outbound_ack(options, 1_000)
    nghttp2_option_set_max_continuations(options, 4)
    // Ours is lower (`HTTP2Limits.resetsBurst`) and settable; this one stands behind it.
    nghttp2_option_set_stream_reset_rate_limit(options, 10_000, 1_000)

    // nghttp2 passes over frames of types that it does not know without a word. Declared as ours they are begun, and counted.
    for type in UInt8(0x0A)...UInt8.max {
      nghttp2_option_set_user_recv_extension_type(options, type)
    }
    return options
  }

  private static func constant(_ name: StaticString, _ value: StaticString) -> nghttp2_nv {
    nghttp2_nv(
      name: UnsafeMutablePointer(mutating: name.utf8Start),
      value: UnsafeMutablePointer(mutating: value.utf8Start),
      namelen: name.utf8CodeUnitCount, valuelen: value.utf8CodeUnitCount,
      flags: UInt8(
        NGHTTP2_NV_FLAG_NO_COPY_NAME.rawValue | NGHTTP2_NV_FLAG_NO_COPY_VALUE.rawValue))
  }

  @inline(__always)
  private static func state(_ user: UnsafeMutableRawPointer?) -> UnsafeMutablePointer<SessionState> {
    user.unsafelyUnwrapped.assumingMemoryBound(to: SessionState.self)
  }

  @inline(__always)
  private static func stream(_ session: OpaquePointer?, _ id: Int32) -> StreamPointer? {
    nghttp2_session_get_stream_user_data(session, id)?.assumingMemoryBound(to: HTTP2Stream.self)
  }

  /// The same for what comes: without nghttp2's search where it goes to the stream of the frame before.
  @inline(__always)
  private static func stream(
    _ session: OpaquePointer?, _ id: Int32, _ state: UnsafeMutablePointer<SessionState>
  ) -> StreamPointer? {
    if let latest = state.pointee.latest, latest.pointee.id == id { return latest }
    let found = stream(session, id)
    state.pointee.latest = found
    return found
  }

  /// The frame's type as RFC 9113 and RFC 9218 number them.
  private enum FrameType {
    static let data: UInt8 = 0
    static let headers: UInt8 = 1
    static let priority: UInt8 = 2
    static let resetStream: UInt8 = 3
    static let settings: UInt8 = 4
    static let ping: UInt8 = 6
    static let goAway: UInt8 = 7
    static let windowUpdate: UInt8 = 8
    static let continuation: UInt8 = 9
    static let priorityUpdate: UInt8 = 16
  }

  /// Called for every frame, before nghttp2 judges it: also those that it passes over in silence are counted.
  private static let beginFrame: nghttp2_on_begin_frame_callback = { _, header, user in
    let header = header.unsafelyUnwrapped
    let state = state(user)
    guard state.pointee.isServer else { return 0 }
    let within: Bool
    switch header.pointee.type {
    case FrameType.data:
      state.pointee.headerBlockIsOpen = false
      if header.pointee.length > 0 || header.pointee.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0 {
        return 0
      }
      within = state.pointee.conduct.note(.emptyFrames)
    case FrameType.headers:
      state.pointee.headerBlockIsOpen = true
      state.pointee.headerBlocksBegun &+= 1
      return 0
    default:
      // A CONTINUATION goes on with the block that is open, and may leave it so.
      if header.pointee.type != FrameType.continuation { state.pointee.headerBlockIsOpen = false }
      within = controlFrameBegan(state, header)
    }
    return within ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
  }

  private static func controlFrameBegan(
    _ state: UnsafeMutablePointer<SessionState>, _ header: UnsafePointer<nghttp2_frame_hd>
  ) -> Bool {
    let isAnswer = header.pointee.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0
    switch header.pointee.type {
    case FrameType.windowUpdate: return state.pointee.conduct.windowUpdateCame()
    case FrameType.resetStream: return state.pointee.conduct.note(.resets)
    case FrameType.settings: return isAnswer || state.pointee.conduct.note(.settings)
    case FrameType.ping:
      // An answer that nobody asked for is a frame without use; ours are asked for rarely.
      return isAnswer
        ? state.pointee.conduct.note(.unknownFrames)
        : state.pointee.conduct.pingCame(liveStreams: state.pointee.live)
    case FrameType.priority, FrameType.priorityUpdate: return state.pointee.conduct.note(.priorities)
    case FrameType.continuation, FrameType.goAway: return true
    default: return state.pointee.conduct.note(.unknownFrames)
    }
  }

  /// nghttp2 has answered a frame with RST_STREAM or GOAWAY.
  private static let invalidFrameReceived: nghttp2_on_invalid_frame_recv_callback = {
    _, frame, code, user in
    let state = state(user)
    state.pointee.headerBlockIsOpen = false
    guard state.pointee.isServer else { return 0 }
    // A stream over the limit may be opened by a client that has not seen our SETTINGS.
    let what: PeerAbuse = code == NGHTTP2_ERR_REFUSED_STREAM.rawValue ? .resets : .provokedResets
    return state.pointee.conduct.note(what) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
  }

  private static let beginHeaders: nghttp2_on_begin_headers_callback = { session, frame, user in
    let state = state(user)
    let header = frame.unsafelyUnwrapped.pointee.hd
    guard header.type == UInt8(NGHTTP2_HEADERS.rawValue) else {
      state.pointee.current = nil
      return 0
    }
    if state.pointee.isServer,
      frame.unsafelyUnwrapped.pointee.headers.cat == NGHTTP2_HCAT_REQUEST
    {
      state.pointee.conduct.requestCame()
      let stream = HTTP2Connection.takeStream(state)
      stream.pointee.reset(id: header.stream_id)
      stream.pointee.matchedFields = state.pointee.repeated.begin()
      nghttp2_session_set_stream_user_data(session, header.stream_id, stream)
      state.pointee.current = stream
      state.pointee.latest = stream
    } else {
      let stream = stream(session, header.stream_id)
      stream?.pointee.blockStart = stream?.pointee.headerLength ?? 0
      state.pointee.current = stream
    }
    return 0
  }

  private static let header: nghttp2_on_header_callback2 = { session, _, nameField, valueField, _, user in
    let state = state(user)
    guard let stream = state.pointee.current, let nameField, let valueField else { return 0 }
    if stream.pointee.matchedFields >= 0,
      state.pointee.repeated.matches(stream.pointee.matchedFields, nameField, valueField)
    {
      stream.pointee.matchedFields &+= 1
      return 0
    }
    return lookAt(nameField, valueField, of: stream, state, session)
  }

  /// A field that is not known already.
  @inline(never)
  private static func lookAt(
    _ nameField: OpaquePointer, _ valueField: OpaquePointer, of stream: StreamPointer,
    _ state: UnsafeMutablePointer<SessionState>, _ session: OpaquePointer?
  ) -> Int32 {
    if stream.pointee.matchedFields >= 0 { state.pointee.repeated.give(stream) }
    let (nameBytes, valueBytes) = (nghttp2_rcbuf_get_buf(nameField), nghttp2_rcbuf_get_buf(valueField))
    guard let name = nameBytes.base, let value = valueBytes.base else { return 0 }
    let (nameLength, valueLength) = (nameBytes.len, valueBytes.len)
    let known = HeaderName.classify(name, nameLength)
    if state.pointee.isServer {
      let isTrailer = stream.pointee.flags.contains(.firstBlockSeen)
      guard
        stream.pointee.rules.takes(
          known, name, nameLength, value, valueLength, isTrailer: isTrailer)
      else {
        return resetMalformed(session, stream, state)
          ? NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE.rawValue : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
      }
    }
    let listBytes = nameLength &+ valueLength &+ 32
    stream.pointee.headerListBytes &+= listBytes
    stream.pointee.headerFields &+= 1
    // Over a limit the block is still decoded, so that HPACK stays in step, but nothing more is kept.
    if stream.pointee.headerListBytes > state.pointee.limits.headerBytesMax
      || stream.pointee.headerFields > state.pointee.limits.headerFieldsMax
    {
      stream.pointee.flags.insert(.headersOverflowed)
      state.pointee.repeated.stopLearningIfSo()
      return isHeaderFlood(state, stream) && !state.pointee.conduct.report(.headerFlood)
        ? NGHTTP2_ERR_CALLBACK_FAILURE.rawValue : 0
    }
    let keptName = known == .custom ? nameLength : 0
    var prefix = (
      known, UInt8(0), UInt16(truncatingIfNeeded: keptName),
      UInt16(truncatingIfNeeded: valueLength)
    )
    let count = 6 &+ keptName &+ valueLength
    if stream.pointee.headerLength &+ count > stream.pointee.headerCapacity {
      stream.growHeaders(by: count)
    }
    let target = stream.pointee.headers + stream.pointee.headerLength
    memcpy(target, &prefix, 6)
    if keptName > 0 { memcpy(target + 6, name, keptName) }
    memcpy(target + 6 + keptName, value, valueLength)
    stream.pointee.headerLength &+= count
    state.pointee.repeated.looked(nameField, valueField, stream)
    return 0
  }

  /// Whether a request may have the block of fields that has just come to its end. Of a block beyond a limit that is not asked: it is
  /// answered as such.
  @inline(__always)
  private static func isWellFormed(_ stream: StreamPointer, ended: Bool) -> Bool {
    let rules = stream.pointee.rules
    if ended, !rules.isWhole { return false }
    return stream.pointee.flags.contains(.firstBlockSeen)
      ? ended : rules.isComplete || stream.pointee.flags.contains(.headersOverflowed)
  }

  /// Resets a stream whose request is malformed (RFC 9113, 8.1.1). False: the peer has sent too many of them.
  @inline(never)
  private static func resetMalformed(
    _ session: OpaquePointer?, _ stream: StreamPointer, _ state: UnsafeMutablePointer<SessionState>
  ) -> Bool {
    state.pointee.headerBlockIsOpen = false
    state.pointee.current = nil
    state.pointee.repeated.stopLearningIfSo()
    nghttp2_submit_rst_stream(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.pointee.id, HTTP2ErrorCode.protocolError)
    return state.pointee.conduct.note(.provokedResets)
  }

  /// A server's mistake is not held against it as soon as a client's: a client has no other connection.
  private static func isHeaderFlood(
    _ state: UnsafeMutablePointer<SessionState>, _ stream: StreamPointer
  ) -> Bool {
    let limits = state.pointee.limits
    let factor = limits.headerFloodFactor &* (state.pointee.isServer ? 1 : 8)
    return stream.pointee.headerListBytes > limits.headerBytesMax &* factor
      || stream.pointee.headerFields > limits.headerFieldsMax &* factor
  }

  private static let dataChunk: nghttp2_on_data_chunk_recv_callback = {
    session, _, id, data, count, user in
    let state = state(user)
    guard let stream = stream(session, id, state), let data else {
      state.pointee.creditDue &+= count
      return 0
    }
    guard !state.pointee.isServer || stream.pointee.rules.took(count) else {
      state.pointee.creditDue &+= count
      return resetMalformed(session, stream, state) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
    }
    HTTP2Stream.append(
      data, count, to: &stream.pointee.body, offset: &stream.pointee.bodyOffset,
      length: &stream.pointee.bodyLength, capacity: &stream.pointee.bodyCapacity)
    stream.pointee.unconsumed &+= count
    if !stream.pointee.flags.contains(.dataQueued) {
      stream.pointee.flags.insert(.dataQueued)
      state.pointee.events.push(HTTP2Event(kind: .data, stream: stream))
    }
    return 0
  }

  private static let frameReceived: nghttp2_on_frame_recv_callback = { session, frame, user in
    let frame = frame.unsafelyUnwrapped
    let header = frame.pointee.hd
    let ended = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch header.type {
    case UInt8(NGHTTP2_DATA.rawValue):
      let state = state(user)
      guard let stream = stream(session, header.stream_id, state) else { return 0 }
      // Padding counts against the window and never reaches the application.
      let padding = frame.pointee.data.padlen
      if padding > 0 {
        nghttp2_session_consume(session, header.stream_id, padding)
        if padding == header.length, !ended, state.pointee.isServer,
          !state.pointee.conduct.note(.emptyFrames)
        {
          return NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
        }
      }
      guard ended else { return 0 }
      guard !state.pointee.isServer || stream.pointee.rules.isWhole else {
        return resetMalformed(session, stream, state) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
      }
      stream.pointee.flags.insert(.remoteEnded)
      if !stream.pointee.flags.contains(.dataQueued) {
        stream.pointee.flags.insert(.dataQueued)
        state.pointee.events.push(HTTP2Event(kind: .data, endStream: true, stream: stream))
      }
    case UInt8(NGHTTP2_HEADERS.rawValue):
      let state = state(user)
      state.pointee.headerBlockIsOpen = false
      guard let stream = state.pointee.current else { return 0 }
      state.pointee.current = nil
      if state.pointee.isServer, !stream.pointee.flags.contains(.firstBlockSeen) {
        state.pointee.repeated.end(stream)
      }
      guard !state.pointee.isServer || isWellFormed(stream, ended: ended) else {
        return resetMalformed(session, stream, state) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE.rawValue
      }
      if ended { stream.pointee.flags.insert(.remoteEnded) }
      let start = stream.pointee.blockStart
      let block = HeaderBlock(
        offset: UInt32(truncatingIfNeeded: start),
        length: UInt32(truncatingIfNeeded: stream.pointee.headerLength &- start))
      if !stream.pointee.flags.contains(.firstBlockSeen) {
        stream.pointee.firstBlock = block
        stream.pointee.flags.insert(.firstBlockSeen)
      }
      state.pointee.events.push(
        HTTP2Event(kind: .headers, endStream: ended, stream: stream, block: block))
    case UInt8(NGHTTP2_GOAWAY.rawValue):
      let goAway = frame.pointee.goaway
      state(user).pointee.connection.goAwayText = String(
        decoding: UnsafeBufferPointer(
          start: goAway.opaque_data,
          count: min(goAway.opaque_data_len, HTTP2Connection.goAwayTextBytesMax)), as: UTF8.self)
      state(user).pointee.events.push(
        HTTP2Event(
          kind: .goAway, code: frame.pointee.goaway.error_code,
          lastStreamID: frame.pointee.goaway.last_stream_id))
    case UInt8(NGHTTP2_SETTINGS.rawValue):
      if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 {
        state(user).pointee.events.push(HTTP2Event(kind: .settings))
      } else {
        state(user).pointee.settingsAcknowledged = true
      }
    case UInt8(NGHTTP2_PING.rawValue):
      if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 {
        state(user).pointee.events.push(HTTP2Event(kind: .pingAcknowledged))
      }
    default: break
    }
    return 0
  }

  private static let frameSent: nghttp2_on_frame_send_callback = { session, frame, user in
    let frame = frame.unsafelyUnwrapped
    let header = frame.pointee.hd
    let state = state(user)
    guard state.pointee.isServer else { return 0 }
    switch header.type {
    case FrameType.data: state.pointee.conduct.dataSent()
    case FrameType.headers:
      state.pointee.conduct.hasSent = true
      freeAnsweredStream(session, header, state)
    case FrameType.resetStream:
      // The end of the connection follows from `checkConduct`, behind this frame.
      if isProvoked(frame.pointee.rst_stream.error_code) {
        _ = state.pointee.conduct.note(.provokedResets)
      }
    case FrameType.goAway:
      let code = frame.pointee.goaway.error_code
      if code != HTTP2ErrorCode.noError { state.pointee.failureSent = code }
    default: break
    }
    return 0
  }

  /// Whether we reset a stream for what the peer did to it; not for a call that was cancelled or refused here.
  private static func isProvoked(_ code: UInt32) -> Bool {
    code != HTTP2ErrorCode.noError && code != HTTP2ErrorCode.cancel
      && code != HTTP2ErrorCode.refusedStream
  }

  /// A server that answers before the client has finished frees the stream by RST_STREAM(NO_ERROR) (RFC 9113, 8.1).
  @inline(__always)
  private static func freeAnsweredStream(
    _ session: OpaquePointer?, _ header: nghttp2_frame_hd, _ state: UnsafeMutablePointer<SessionState>
  ) {
    guard header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0,
      let stream = stream(session, header.stream_id),
      !stream.pointee.flags.contains(.remoteEnded)
    else { return }
    // nghttp2 gives the credit of what comes on a stream that is gone back by itself: it stays for what is on its way.
    if state.pointee.withholdsCredit {
      stream.pointee.flags.insert(.answeredEarly)
      return
    }
    nghttp2_submit_rst_stream(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), header.stream_id, HTTP2ErrorCode.noError)
  }

  private static let streamClosed: nghttp2_on_stream_close_callback = { session, id, code, user in
    guard let stream = stream(session, id) else { return 0 }
    stream.pointee.flags.insert(.closed)
    state(user).pointee.events.push(HTTP2Event(kind: .closed, stream: stream, code: code))
    return 0
  }

  static let readBody: nghttp2_data_source_read_callback = {
    session, id, buffer, room, flags, source, user in
    let stream = source.unsafelyUnwrapped.pointee.ptr.unsafelyUnwrapped
      .assumingMemoryBound(to: HTTP2Stream.self)
    let count = min(room, stream.unsentBytes)
    memcpy(buffer.unsafelyUnwrapped, stream.pointee.out + stream.pointee.outOffset, count)
    stream.pointee.outOffset &+= count
    stream.pointee.sentBytes &+= count
    stream.pointee.unsentTotal.pointee &-= count
    guard stream.unsentBytes == 0 else { return count }
    stream.pointee.outOffset = 0
    stream.pointee.outLength = 0
    if stream.pointee.flags.contains(.wantsDrained) {
      stream.pointee.flags.remove(.wantsDrained)
      state(user).pointee.events.push(HTTP2Event(kind: .drained, stream: stream))
    }
    guard stream.pointee.flags.contains(.outboundEnded) else {
      if count > 0 { return count }
      stream.pointee.flags.insert(.deferred)
      return Int(NGHTTP2_ERR_DEFERRED.rawValue)
    }
    flags.unsafelyUnwrapped.pointee |= NGHTTP2_DATA_FLAG_EOF.rawValue
    if stream.pointee.flags.contains(.okTrailers) {
      flags.unsafelyUnwrapped.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
      nghttp2_submit_trailer(session, id, shared.okTrailers, 1)
    } else if stream.pointee.flags.contains(.customTrailers) {
      flags.unsafelyUnwrapped.pointee |= NGHTTP2_DATA_FLAG_NO_END_STREAM.rawValue
      let fields = state(user).pointee.connection.trailers.removeValue(forKey: id) ?? []
      _ = HTTP2Connection.withFields(fields) { nghttp2_submit_trailer(session, id, $0, $1) }
    }
    return count
  }
}

extension StreamPointer {
  /// Marks a data event as handled: bytes that come from now on make a new one.
  @inline(__always)
  package func dataHandled() { pointee.flags.remove(.dataQueued) }
}
