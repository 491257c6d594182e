internal import CNghttp2

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A field that this side sends.
package struct HeaderField: Sendable {
  package var name: [UInt8]
  package var value: [UInt8]
  /// Whether header compression remembers the field, so that it is a byte the next time. Not for a value that comes once: it would
  /// push out what comes again, and be looked at for nothing with each field of its name.
  package var isIndexed: Bool

  package init(_ name: String, _ value: String) {
    self.init(name: Array(name.utf8), value: Array(value.utf8))
  }

  package init(name: [UInt8], value: [UInt8], isIndexed: Bool = true) {
    self.name = name
    self.value = value
    self.isIndexed = isIndexed
  }
}

/// What nghttp2's callbacks touch. In raw memory: see `HTTP2Stream`.
struct SessionState {
  var events = EventQueue()
  var current: StreamPointer?
  /// The list of the streams that are given out.
  var firstLive: StreamPointer?
  let pool: UnsafeMutablePointer<StreamPool>
  let unsentTotal: UnsafeMutablePointer<Int>
  var limits: HTTP2Limits
  let isServer: Bool
  /// Streams given out and not yet released.
  var live = 0
  var conduct: PeerConduct
  /// A HEADERS frame has begun and its block has not ended; counted, so that one is told from the next.
  var headerBlocksBegun = 0
  var headerBlockIsOpen = false
  /// The peer has acknowledged our SETTINGS.
  var settingsAcknowledged = false
  /// Error code of a GOAWAY that has been sent; nil: none, or a graceful one.
  var failureSent: UInt32?
  /// What is consumed is kept from the peer for a while: see `HTTP2Connection.withholdsCredit`.
  var withholdsCredit = false
  var withheldBytes = 0
  /// Bytes of the connection's window that the peer is given back with the next output.
  var creditDue = 0
  /// The stream that was looked for last: its next frame mostly comes next.
  var latest: StreamPointer?
  var repeated = RepeatedFields()
  /// nghttp2's session is gone: see `tearDown`.
  var isOver = false
  unowned(unsafe) let connection: HTTP2Connection
}

/// One HTTP/2 connection as bytes in, events out; no I/O. Confined to one thread. The only type that knows nghttp2.
///
/// Use: `receive` what came, handle `nextEvent` until nil, send `nextOutput` until nil, handle events again.
@usableFromInline
package final class HTTP2Connection {
  package enum Role: Sendable { case server, client }

  let session: OpaquePointer
  let state: UnsafeMutablePointer<SessionState>
  /// Keeps the allocator alive for the session's life.
  private let memory: SessionMemory
  /// Trailers other than the plain `grpc-status: 0`, by stream, until the body has been sent.
  var trailers: [Int32: [HeaderField]] = [:]
  /// What the peer's last GOAWAY said for people, at most `goAwayTextBytesMax`.
  package internal(set) var goAwayText = ""
  static let goAwayTextBytesMax = 256
  /// Body bytes of all streams that wait to be sent. In raw memory, because streams count in it.
  @usableFromInline let unsentTotal: UnsafeMutablePointer<Int>

  /// - Parameter windowBytes: the connection's receive window at first; nil: `HTTP2Limits.connectionWindowBytes`.
  /// - Throws: `HTTP2Error.outOfMemory`.
  package init(
    role: Role, limits: HTTP2Limits = HTTP2Limits(), windowBytes: Int? = nil, memory: SessionMemory
  ) throws(HTTP2Error) {
    limits.check()
    self.memory = memory
    state = .allocate(capacity: 1)
    unsentTotal = .allocate(capacity: 1)
    unsentTotal.initialize(to: 0)
    var created: OpaquePointer?
    let callbacks = SessionCallbacks.shared
    let result =
      switch role {
      case .server:
        nghttp2_session_server_new3(
          &created, callbacks.table, state, callbacks.serverOptions, memory.table)
      case .client:
        nghttp2_session_client_new3(
          &created, callbacks.table, state, callbacks.clientOptions, memory.table)
      }
    guard result == 0, let created else {
      state.deallocate()
      unsentTotal.deallocate()
      throw .outOfMemory
    }
    session = created
    state.initialize(
      to: SessionState(
        pool: memory.streams, unsentTotal: unsentTotal, limits: limits, isServer: role == .server, conduct: PeerConduct(limits, commonResets: memory.resets),
        connection: self))
    submitSettings(limits, windowBytes: windowBytes ?? limits.connectionWindowBytes)
  }

  deinit {
    tearDown()
    state.pointee.events.deallocate()
    state.deallocate()
    unsentTotal.deallocate()
  }

  /// Lets go of nghttp2's session and of all streams, once their owner has; nothing comes or goes after it. To be called on the
  /// connection's thread: the memory is that of all connections of an event loop, and the last reference may be dropped anywhere.
  package func tearDown() {
    guard !state.pointee.isOver else { return }
    state.pointee.isOver = true
    state.pointee.repeated.deallocate()
    nghttp2_session_del(session)
    for stream in openStreams { giveBack(stream) }
    while state.pointee.events.pop() != nil {}
    trailers = [:]
    unsentTotal.pointee = 0
  }

  private func submitSettings(_ limits: HTTP2Limits, windowBytes: Int) {
    var entries = [
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS.rawValue),
        value: UInt32(limits.concurrentStreamsMax)),
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE.rawValue),
        value: UInt32(limits.streamWindowBytes)),
      nghttp2_settings_entry(
        settings_id: Int32(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE.rawValue),
        value: UInt32(limits.headerBytesMax)),
    ]
    // SETTINGS_NO_RFC7540_PRIORITIES (RFC 9218): nghttp2 then keeps no priority tree, which is an attack surface.
    entries.append(nghttp2_settings_entry(settings_id: 9, value: 1))
    if !state.pointee.isServer {
      // Nobody asked for what a server might push.
      entries.append(
        nghttp2_settings_entry(
          settings_id: Int32(NGHTTP2_SETTINGS_ENABLE_PUSH.rawValue), value: 0))
    }
    nghttp2_submit_settings(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), &entries, entries.count)
    nghttp2_session_set_local_window_size(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(windowBytes))
  }

  // MARK: - In

  /// Takes bytes of the peer.
  ///
  /// - Throws: where the connection cannot go on; a GOAWAY with the reason may wait in the output.
  @inline(__always)
  package func receive(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    guard let base = bytes.baseAddress, !state.pointee.isOver else { return }
    let taken = nghttp2_session_mem_recv(
      session, base.assumingMemoryBound(to: UInt8.self), bytes.count)
    if taken < 0 { throw failure(of: taken) }
    let waiting = nghttp2_session_get_outbound_queue_size(session)
    if waiting > state.pointee.limits.outboundFramesMax, state.pointee.isServer {
      throw cut(.unreadAnswers)
    }
  }

  @inline(never)
  private func failure(of code: Int) -> HTTP2Error {
    if let abuse = state.pointee.conduct.abuse { return cut(abuse) }
    switch Int32(code) {
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS.rawValue: return cut(.continuations)
    case NGHTTP2_ERR_FLOODED.rawValue: return cut(.unreadAnswers)
    case NGHTTP2_ERR_NOMEM.rawValue: return .outOfMemory
    default: return .protocolViolation(String(cString: nghttp2_strerror(Int32(code))))
    }
  }

  /// Puts GOAWAY(ENHANCE_YOUR_CALM) into the output; the owner sends that and closes.
  private func cut(_ abuse: PeerAbuse) -> HTTP2Error {
    // gRFC A8: a client that reads this text pings half as often from then on.
    goAway(HTTP2ErrorCode.enhanceYourCalm, abuse == .pings ? "too_many_pings" : "\(abuse)")
    return .abuse(abuse)
  }

  /// One more of something that only the owner sees. The next `receive` or `checkConduct` throws where it was too much.
  package func note(_ abuse: PeerAbuse, weight: Int = 1) {
    _ = state.pointee.conduct.note(abuse, weight: weight)
  }

  /// - Throws: where the peer has done something too often; a GOAWAY then waits in the output.
  @inline(__always)
  package func checkConduct() throws(HTTP2Error) {
    if let abuse = state.pointee.conduct.abuse { throw cut(abuse) }
  }

  @inline(__always)
  package func nextEvent() -> HTTP2Event? { state.pointee.events.pop() }

  /// Lets the peer send as many bytes more on a stream, after the application has taken them.
  @inline(__always)
  package func consume(_ stream: StreamPointer, _ count: Int) {
    let count = min(count, stream.pointee.unconsumed)
    guard count > 0, !state.pointee.isOver else { return }
    stream.pointee.unconsumed &-= count
    // Who has ended his side sends nothing more on it.
    if !stream.pointee.flags.contains(.remoteEnded) {
      nghttp2_session_consume_stream(session, stream.pointee.id, count)
    }
    returnCredit(count)
  }

  /// Gives bytes of the connection's window back, all that came in a turn of the loop at once.
  @inline(__always)
  private func returnCredit(_ count: Int) {
    if state.pointee.withholdsCredit {
      state.pointee.withheldBytes &+= count
    } else {
      state.pointee.creditDue &+= count
    }
  }

  /// Lets the peer send on whatever it has sent on a stream so far.
  @inline(__always)
  package func consumeAll(_ stream: StreamPointer) { consume(stream, stream.pointee.unconsumed) }

  /// Drops the bytes of a stream that is answered: while credit is withheld the peer may send no more on it.
  package func consumeAnswered(_ stream: StreamPointer) {
    guard state.pointee.withholdsCredit else { return consumeAll(stream) }
    state.pointee.withheldBytes &+= stream.pointee.unconsumed
    stream.pointee.unconsumed = 0
  }

  /// Finds a stream that has not been closed. Cost: one hash look-up in nghttp2.
  @inline(__always)
  package func stream(_ id: Int32) -> StreamPointer? {
    if state.pointee.isOver { return nil }
    return nghttp2_session_get_stream_user_data(session, id)?.assumingMemoryBound(
      to: HTTP2Stream.self)
  }

  /// Takes back the memory of a stream whose `closed` event has been handled.
  @inline(__always)
  package func release(_ stream: StreamPointer) {
    if state.pointee.isOver { return }
    unsentTotal.pointee &-= stream.unsentBytes
    stream.pointee.outOffset = 0
    stream.pointee.outLength = 0
    returnCredit(stream.pointee.unconsumed)
    if stream.pointee.flags.contains(.customTrailers) {
      trailers.removeValue(forKey: stream.pointee.id)
    }
    giveBack(stream)
  }

  @inline(__always)
  private func giveBack(_ stream: StreamPointer) {
    let next = stream.pointee.nextLive
    if let previous = stream.pointee.previousLive {
      previous.pointee.nextLive = next
    } else {
      state.pointee.firstLive = next
    }
    next?.pointee.previousLive = stream.pointee.previousLive
    state.pointee.live &-= 1
    if state.pointee.latest == stream { state.pointee.latest = nil }
    stream.pointee.trim()
    state.pointee.pool.pointee.give(stream, kept: state.pointee.limits.freeStreamsKept)
  }

  /// The streams that have been given out and not released, for the end of a connection.
  package var openStreams: [StreamPointer] {
    var streams: [StreamPointer] = []
    forEachLiveStream { streams.append($0) }
    return streams
  }

  /// Visits the streams that have been given out and not released. Nothing may be released meanwhile.
  package func forEachLiveStream(_ body: (StreamPointer) -> Void) {
    var next = state.pointee.firstLive
    while let stream = next {
      next = stream.pointee.nextLive
      body(stream)
    }
  }

  // MARK: - Out

  /// The next bytes to send, valid until the next call of anything here; nil: nothing more for now.
  @inline(__always)
  package func nextOutput() -> UnsafeRawBufferPointer? {
    if state.pointee.isOver { return nil }
    if state.pointee.creditDue > 0 {
      nghttp2_session_consume_connection(session, state.pointee.creditDue)
      state.pointee.creditDue = 0
    }
    var base: UnsafePointer<UInt8>?
    let count = nghttp2_session_mem_send(session, &base)
    guard count > 0 else { return nil }
    return UnsafeRawBufferPointer(start: base, count: count)
  }

  /// What the headers of an answer say about compression.
  package enum AnnouncedEncoding: Int, Sendable {
    /// Nothing.
    case nothing = 2
    /// `grpc-accept-encoding`.
    case accepted = 3
    /// The same and `grpc-encoding: gzip`.
    case gzip = 4
  }

  /// Answers a request with `:status 200`, `content-type: application/grpc`; the body follows from `stream.write`.
  @inline(__always)
  package func respond(_ stream: StreamPointer, encoding: AnnouncedEncoding = .nothing) {
    if state.pointee.isOver { return }
    stream.pointee.flags.insert(.outboundBegun)
    var provider = Self.provider(stream)
    nghttp2_submit_response(
      session, stream.pointee.id, SessionCallbacks.shared.responseFields, encoding.rawValue, &provider)
  }

  /// The same with more fields.
  package func respond(_ stream: StreamPointer, _ fields: [HeaderField]) {
    if state.pointee.isOver { return }
    stream.pointee.flags.insert(.outboundBegun)
    var provider = Self.provider(stream)
    Self.withFields(fields) { fields, count in
      _ = nghttp2_submit_response(session, stream.pointee.id, fields, count, &provider)
    }
  }

  /// Answers with one header block and no body: gRPC's Trailers-Only, or a plain HTTP status.
  package func respondOnly(_ stream: StreamPointer, _ fields: [HeaderField]) {
    if state.pointee.isOver { return }
    stream.pointee.flags.formUnion([.outboundBegun, .outboundEnded])
    Self.withFields(fields) { fields, count in
      _ = nghttp2_submit_response(session, stream.pointee.id, fields, count, nil)
    }
  }

  /// Says that no more body comes: `grpc-status: 0` follows.
  @inline(__always)
  package func endOK(_ stream: StreamPointer) {
    stream.pointee.flags.formUnion([.outboundEnded, .okTrailers])
    resume(stream)
  }

  /// Says that no more body comes: these trailers follow.
  package func end(_ stream: StreamPointer, trailers fields: [HeaderField]) {
    stream.pointee.flags.formUnion([.outboundEnded, .customTrailers])
    trailers[stream.pointee.id] = fields
    resume(stream)
  }

  /// Says that no more body comes and nothing follows: a client's half-close.
  package func endBody(_ stream: StreamPointer) {
    stream.pointee.flags.insert(.outboundEnded)
    resume(stream)
  }

  /// Lets nghttp2 ask for the body again, after `stream.write`.
  @inline(__always)
  package func resume(_ stream: StreamPointer) {
    guard stream.pointee.flags.contains(.deferred), !state.pointee.isOver else { return }
    stream.pointee.flags.remove(.deferred)
    nghttp2_session_resume_data(session, stream.pointee.id)
  }

  /// Asks for a `drained` event once everything written has been taken.
  package func notifyWhenDrained(_ stream: StreamPointer) {
    stream.pointee.flags.insert(.wantsDrained)
  }

  /// Begins a request. The body follows from `stream.write`; `endBody` ends it. nil: nghttp2 takes no more requests on this
  /// connection (identifiers used up, GOAWAY).
  package func request(_ fields: [HeaderField]) -> StreamPointer? {
    if state.pointee.isOver { return nil }
    let stream = Self.takeStream(state)
    stream.pointee.reset(id: 0)
    stream.pointee.flags.insert(.outboundBegun)
    var provider = Self.provider(stream)
    let id = Self.withFields(fields) { fields, count in
      nghttp2_submit_request(session, nil, fields, count, &provider, stream)
    }
    guard id > 0 else {
      release(stream)
      return nil
    }
    stream.pointee.id = id
    return stream
  }

  /// Ends a stream at once.
  package func reset(_ stream: StreamPointer, _ code: UInt32) {
    if state.pointee.isOver { return }
    nghttp2_submit_rst_stream(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), stream.pointee.id, code)
  }

  /// The first GOAWAY of a graceful end: the peer learns that it should open no more streams.
  package func announceShutdown() {
    if state.pointee.isOver { return }
    nghttp2_submit_shutdown_notice(session)
  }

  /// The second GOAWAY: streams opened after this are refused.
  package func goAway(_ code: UInt32, _ text: String = "") {
    if state.pointee.isOver { return }
    let last = nghttp2_session_get_last_proc_stream_id(session)
    let bytes = Array(text.utf8)
    nghttp2_submit_goaway(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), last, code, bytes, bytes.count)
  }

  /// Eight bytes of zero; the peer's answer is a `pingAcknowledged` event.
  package func ping() {
    if state.pointee.isOver { return }
    nghttp2_submit_ping(session, UInt8(NGHTTP2_FLAG_NONE.rawValue), nil)
  }

  /// Whether the session is over: nothing to read or write any more.
  @inline(__always)
  package var isFinished: Bool {
    state.pointee.isOver
      || nghttp2_session_want_read(session) == 0 && nghttp2_session_want_write(session) == 0
  }

  /// Streams that the peer lets this side have open at once, as its SETTINGS say.
  package var peerConcurrentStreamsMax: Int {
    if state.pointee.isOver { return 0 }
    return Int(
      nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS))
  }

  /// Streams given out and not yet released.
  @inline(__always)
  package var liveStreams: Int { state.pointee.live }

  /// Body bytes of all streams that wait to be sent.
  @inlinable @inline(__always)
  package var unsentBytes: Int { unsentTotal.pointee }

  /// The number of the header block that has begun and not ended; nil: none is open.
  package var openHeaderBlock: Int? {
    state.pointee.headerBlockIsOpen ? state.pointee.headerBlocksBegun : nil
  }

  /// Whether the peer has acknowledged our SETTINGS.
  package var settingsAcknowledged: Bool { state.pointee.settingsAcknowledged }

  /// Error code of the GOAWAY by which this side gave the connection up; nil: it has not, or gracefully.
  package var failureSent: UInt32? { state.pointee.failureSent }

  /// The last stream of the peer.
  package var lastStreamID: Int32 {
    state.pointee.isOver ? 0 : nghttp2_session_get_last_proc_stream_id(session)
  }

  /// The nghttp2 that is loaded: `1.52.0`.
  package static var libraryVersion: String {
    nghttp2_version(0).map { String(cString: $0.pointee.version_str) } ?? "unknown"
  }

  // MARK: - Inside

  @inline(__always)
  private static func provider(_ stream: StreamPointer) -> nghttp2_data_provider {
    var provider = nghttp2_data_provider()
    provider.source.ptr = UnsafeMutableRawPointer(stream)
    provider.read_callback = SessionCallbacks.readBody
    return provider
  }

  /// A stream for the next call, not yet reset.
  @inline(__always)
  static func takeStream(_ state: UnsafeMutablePointer<SessionState>) -> StreamPointer {
    let stream = state.pointee.pool.pointee.take()
    stream.pointee.unsentTotal = state.pointee.unsentTotal
    stream.pointee.previousLive = nil
    stream.pointee.nextLive = state.pointee.firstLive
    state.pointee.firstLive?.pointee.previousLive = stream
    state.pointee.firstLive = stream
    state.pointee.live &+= 1
    return stream
  }

  /// Calls a C function with fields laid out as it wants them; nghttp2 copies what it keeps.
  static func withFields<Result>(
    _ fields: [HeaderField], _ body: (UnsafePointer<nghttp2_nv>?, Int) -> Result
  ) -> Result {
    var bytes: [UInt8] = []
    for field in fields { bytes += field.name + field.value }
    return bytes.withUnsafeMutableBufferPointer { buffer in
      var values: [nghttp2_nv] = []
      var position = 0
      for field in fields {
        let name = buffer.baseAddress.map { $0 + position }
        let value = name.map { $0 + field.name.count }
        values.append(
          nghttp2_nv(
            name: name, value: value, namelen: field.name.count, valuelen: field.value.count,
            flags: UInt8((field.isIndexed ? NGHTTP2_NV_FLAG_NONE : NGHTTP2_NV_FLAG_NO_INDEX).rawValue)))
        position += field.name.count + field.value.count
      }
      return values.withUnsafeBufferPointer { body($0.baseAddress, $0.count) }
    }
  }
}
