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
  let options: OpaquePointer
  let responseFields: UnsafeMutablePointer<nghttp2_nv>
  let okTrailers: UnsafeMutablePointer<nghttp2_nv>

  private init() {
    var table: OpaquePointer?
    var options: OpaquePointer?
    precondition(nghttp2_session_callbacks_new(&table) == 0, "no memory for nghttp2's callbacks")
    precondition(nghttp2_option_new(&options) == 0, "no memory for nghttp2's options")
    guard let table, let options else { preconditionFailure("nghttp2 gave no objects") }
    self.table = table
    self.options = options
    responseFields = .allocate(capacity: 2)
    responseFields[0] = Self.constant(":status", "200")
    responseFields[1] = Self.constant("content-type", "application/grpc")
    okTrailers = .allocate(capacity: 1)
    okTrailers[0] = Self.constant("grpc-status", "0")

    nghttp2_option_set_no_auto_window_update(options, 1)
    nghttp2_option_set_no_closed_streams(options, 1)
    nghttp2_option_set_max_settings(options, 32)
    nghttp2_option_set_max_outbound_ack(options, 1_000)
    nghttp2_option_set_max_continuations(options, 4)
    // A client may cancel 1,000 calls at once, and 200/s for ever: an honest one that cancels 50/s stays far below.
    nghttp2_option_set_stream_reset_rate_limit(options, 1_000, 200)

    nghttp2_session_callbacks_set_on_begin_headers_callback(table, Self.beginHeaders)
    nghttp2_session_callbacks_set_on_header_callback(table, Self.header)
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, Self.dataChunk)
    nghttp2_session_callbacks_set_on_frame_recv_callback(table, Self.frameReceived)
    nghttp2_session_callbacks_set_on_frame_send_callback(table, Self.frameSent)
    nghttp2_session_callbacks_set_on_stream_close_callback(table, Self.streamClosed)
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
      let stream = state.pointee.connection.takeStream()
      stream.pointee.reset(id: header.stream_id)
      nghttp2_session_set_stream_user_data(session, header.stream_id, stream)
      state.pointee.current = stream
    } else {
      let stream = stream(session, header.stream_id)
      stream?.pointee.blockStart = stream?.pointee.headerLength ?? 0
      state.pointee.current = stream
    }
    return 0
  }

  private static let header: nghttp2_on_header_callback = {
    _, _, name, nameLength, value, valueLength, _, user in
    let state = state(user)
    guard let stream = state.pointee.current, let name, let value else { return 0 }
    let listBytes = nameLength &+ valueLength &+ 32
    stream.pointee.headerListBytes &+= listBytes
    stream.pointee.headerFields &+= 1
    // Over a limit the block is still decoded, so that HPACK stays in step, but nothing more is kept; a peer that goes on to
    // twice the limit loses the connection.
    if stream.pointee.headerListBytes > state.pointee.limits.headerBytesMax
      || stream.pointee.headerFields > state.pointee.limits.headerFieldsMax
    {
      stream.pointee.flags.insert(.headersOverflowed)
      return stream.pointee.headerFields > state.pointee.limits.headerFieldsMax &* 16
        ? NGHTTP2_ERR_CALLBACK_FAILURE.rawValue : 0
    }
    let known = HeaderName.classify(name, nameLength)
    let keptName = known == .custom ? nameLength : 0
    var prefix = (
      known.rawValue, UInt8(0), UInt16(truncatingIfNeeded: keptName),
      UInt16(truncatingIfNeeded: valueLength)
    )
    let count = 6 &+ keptName &+ valueLength
    if stream.pointee.headerLength &+ count > stream.pointee.headerCapacity {
      growHeaders(stream, by: count)
    }
    let target = stream.pointee.headers + stream.pointee.headerLength
    memcpy(target, &prefix, 6)
    if keptName > 0 { memcpy(target + 6, name, keptName) }
    memcpy(target + 6 + keptName, value, valueLength)
    stream.pointee.headerLength &+= count
    return 0
  }

  @inline(never)
  private static func growHeaders(_ stream: StreamPointer, by count: Int) {
    var capacity = stream.pointee.headerCapacity
    while capacity < stream.pointee.headerLength + count { capacity *= 2 }
    let fresh = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    memcpy(fresh, stream.pointee.headers, stream.pointee.headerLength)
    stream.pointee.headers.deallocate()
    stream.pointee.headers = fresh
    stream.pointee.headerCapacity = capacity
  }

  private static let dataChunk: nghttp2_on_data_chunk_recv_callback = {
    session, _, id, data, count, user in
    guard let stream = stream(session, id), let data else {
      nghttp2_session_consume_connection(session, count)
      return 0
    }
    HTTP2Stream.append(
      data, count, to: &stream.pointee.body, offset: &stream.pointee.bodyOffset,
      length: &stream.pointee.bodyLength, capacity: &stream.pointee.bodyCapacity)
    stream.pointee.unconsumed &+= count
    if !stream.pointee.flags.contains(.dataQueued) {
      stream.pointee.flags.insert(.dataQueued)
      state(user).pointee.events.push(HTTP2Event(kind: .data, stream: stream))
    }
    return 0
  }

  private static let frameReceived: nghttp2_on_frame_recv_callback = { session, frame, user in
    let frame = frame.unsafelyUnwrapped
    let header = frame.pointee.hd
    let ended = header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0
    switch header.type {
    case UInt8(NGHTTP2_DATA.rawValue):
      guard let stream = stream(session, header.stream_id) else { return 0 }
      // Padding counts against the window and never reaches the application.
      let padding = frame.pointee.data.padlen
      if padding > 0 { nghttp2_session_consume(session, header.stream_id, padding) }
      guard ended else { return 0 }
      stream.pointee.flags.insert(.remoteEnded)
      if !stream.pointee.flags.contains(.dataQueued) {
        stream.pointee.flags.insert(.dataQueued)
        state(user).pointee.events.push(HTTP2Event(kind: .data, endStream: true, stream: stream))
      }
    case UInt8(NGHTTP2_HEADERS.rawValue):
      let state = state(user)
      guard let stream = state.pointee.current else { return 0 }
      state.pointee.current = nil
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
      state(user).pointee.events.push(
        HTTP2Event(
          kind: .goAway, code: frame.pointee.goaway.error_code,
          lastStreamID: frame.pointee.goaway.last_stream_id))
    case UInt8(NGHTTP2_SETTINGS.rawValue):
      if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) == 0 {
        state(user).pointee.events.push(HTTP2Event(kind: .settings))
      }
    case UInt8(NGHTTP2_PING.rawValue):
      if header.flags & UInt8(NGHTTP2_FLAG_ACK.rawValue) != 0 {
        state(user).pointee.events.push(HTTP2Event(kind: .pingAcknowledged))
      }
    default: break
    }
    return 0
  }

  /// A server that answers before the client has finished frees the stream by RST_STREAM(NO_ERROR) (RFC 9113, 8.1).
  private static let frameSent: nghttp2_on_frame_send_callback = { session, frame, user in
    let header = frame.unsafelyUnwrapped.pointee.hd
    guard header.type == UInt8(NGHTTP2_HEADERS.rawValue),
      header.flags & UInt8(NGHTTP2_FLAG_END_STREAM.rawValue) != 0, state(user).pointee.isServer,
      let stream = stream(session, header.stream_id),
      !stream.pointee.flags.contains(.remoteEnded)
    else { return 0 }
    nghttp2_submit_rst_stream(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), header.stream_id, HTTP2ErrorCode.noError)
    return 0
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
