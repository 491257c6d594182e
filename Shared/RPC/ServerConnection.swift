package import HTTP2

/// One connection of a server: HTTP/2 events in, calls of handlers out. Confined to its event loop.
// @unchecked: its state is touched on its event loop only; other threads reach it by `driver.execute`.
package final class ServerConnection: @unchecked Sendable, PipeOwner {
  package let http2: HTTP2Connection
  let core: ServerCore
  package let driver: any ConnectionDriver
  package let peer: String
  /// For channelz.
  package let id = ChannelzID.next()
  /// `127.0.0.1:7001`; set by the transport.
  package var localAddress = ""
  /// Which of the server's event loops this one is, for counting.
  let loop: Int
  let seed = CallSeed()
  /// Not seen outside of the module, so that the compiler knows all accesses and checks none at run time.
  var figures = ConnectionFigures()
  /// Unchecked: it is touched twice for each call, never within a closure of its own.
  @exclusivity(unchecked) var lastAuthorization = LastAuthorization()
  /// Unchecked: likewise.
  @exclusivity(unchecked) var lastHead = LastHead()

  /// Streams whose handlers run after their dispatch: parked, `async`, streaming. `userIndex` is the position. Unchecked: it is
  /// touched five times for each call, never within a closure of its own.
  @exclusivity(unchecked) var running: [StreamPointer] = []
  /// When the sweep for passed deadlines is due; `Int64.max`: none is scheduled.
  var nextSweep = Int64.max
  var drain = Drain.no
  var now: Int64 = 0
  /// The client's preface and SETTINGS have come.
  package private(set) var hasSettings = false
  /// The transport is gone: late answers go nowhere.
  var lost = false
  /// The transport writes what waits and closes.
  package var mustClose = false
  var timers: ServerTimers
  /// nil: what is consumed may come again at once, also where calls are refused.
  let pace: CreditPace?
  /// Is in the row of `pace`.
  var waitsForCredit = false
  /// Why the server ended this connection; nil: it has not.
  var endCause: ConnectionEnd?

  enum Drain { case no, announced, final }

  /// Where a stream stands (`HTTP2Stream.userState`).
  enum CallState {
    static let new: UInt32 = 0
    /// Unary: its message is coming.
    static let receiving: UInt32 = 1
    /// Its handler is being called on the loop.
    static let dispatching: UInt32 = 2
    /// Unary: its handler works elsewhere or later.
    static let running: UInt32 = 3
    static let streaming: UInt32 = 4
    static let answered: UInt32 = 5
  }

  /// What a call's request says, `HTTP2Stream.userFlags`.
  enum CallFlags {
    static let gzip: UInt32 = 1
    static let acceptsGzip: UInt32 = 2
    static let negotiates: UInt32 = 4
    /// The one message of a unary request came compressed.
    static let packedRequest: UInt32 = 8
    /// There is custom metadata.
    static let metadata: UInt32 = 16
    /// Whether the answer's headers have to say something about encodings.
    static let encodings = gzip | acceptsGzip | negotiates

    @inline(__always)
    static func of(_ head: RequestHead) -> UInt32 {
      (head.flags.contains(.gzip) ? gzip : 0) | (head.flags.contains(.acceptsGzip) ? acceptsGzip : 0)
        | (head.flags.contains(.negotiates) ? negotiates : 0)
        | (head.flags.contains(.metadata) ? metadata : 0)
    }
  }

  /// - Throws: `HTTP2Error.outOfMemory`.
  package init(
    core: ServerCore, driver: any ConnectionDriver, peer: String, loop: Int = 0,
    memory: SessionMemory, pace: CreditPace? = nil
  ) throws(HTTP2Error) {
    self.core = core
    self.driver = driver
    self.peer = peer
    self.loop = loop
    now = MonotonicClock.now
    self.pace = pace
    timers = ServerTimers(core.limits, now: now)
    http2 = try HTTP2Connection(
      role: .server, limits: core.limits.http2, windowBytes: timers.windowBytes, memory: memory)
    pace?.opened()
  }

  // MARK: - Called by the transport, on the loop

  /// Takes bytes of the client and calls the handlers whose requests they complete.
  @inline(__always)
  package func receive(_ bytes: UnsafeRawBufferPointer) throws(HTTP2Error) {
    try http2.receive(bytes)
    now = MonotonicClock.now
    figures.bytesReceived &+= bytes.count
    processEvents()
  }

  /// Handles what nghttp2 has reported; also after output was taken, because sending closes streams.
  @inline(__always)
  package func processEvents() {
    while let event = http2.nextEvent() {
      switch event.kind {
      case .headers: if let stream = event.stream { headersCame(stream) }
      case .data:
        if let stream = event.stream {
          stream.dataHandled()
          dataCame(stream)
        }
      case .closed: if let stream = event.stream { closed(stream, event.code) }
      case .drained: if let stream = event.stream { pipe(of: stream)?.outputTaken() }
      case .pingAcknowledged: finishAnnouncement()
      case .settings: hasSettings = true
      case .goAway: break
      }
    }
    if http2.withheldBytes > 0 { waitForCredit() }
  }

  /// The transport is gone: all calls are cancelled.
  package func connectionLost() {
    guard !lost else { return }
    // Before all else: what runs in the course of it finds no stream any more.
    lost = true
    for stream in http2.openStreams { closed(stream, HTTP2ErrorCode.cancel) }
    pace?.closed()
    http2.tearDown()
  }

  /// Begins a graceful end: the client is told, then, a round trip later, refused; what runs is finished.
  package func beginDrain(_ text: String = "the server shuts down") {
    guard case .no = drain else { return }
    drain = .announced
    timers.drainText = text
    timers.announcedAt = MonotonicClock.now
    http2.announceShutdown()
    http2.ping()
    driver.flush()
  }

  func finishAnnouncement() {
    guard case .announced = drain else { return }
    drain = .final
    http2.goAway(HTTP2ErrorCode.noError, timers.drainText)
    driver.flush()
  }

  /// Whether a graceful end has come to its last call.
  package var isDrained: Bool {
    if case .final = drain { return http2.liveStreams == 0 }
    return false
  }

  func open(_ streamID: Int32) -> StreamPointer? { lost ? nil : http2.stream(streamID) }
}
