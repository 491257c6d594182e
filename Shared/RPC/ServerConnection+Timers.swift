package import HTTP2

/// What a connection's timers remember. They are looked at together, from one timer of the event loop: see `tick`.
struct ServerTimers {
  let openedAt: Int64
  /// When the connection is old enough to be ended; `Int64.max`: never.
  let endsAt: Int64
  /// When its calls are cut after that.
  var graceEndsAt = Int64.max
  var announcedAt = Int64.max
  var drainText = ""
  /// A PING of ours that nothing has followed; 0: none.
  var pingedAt: Int64 = 0
  /// Since when there has been no call; 0: there was one.
  var idleSince: Int64 = 0
  var idleStreamID: Int32 = 0
  /// The header block that was open at the last look, and since when.
  var headerBlock = -1
  var headerBlockSince: Int64 = 0
  /// Since when the socket takes too little, and what it had taken by then; 0: it does not.
  var stalledSince: Int64 = 0
  var stalledAt = 0
  /// When a call was last refused for want of room, or nearly, while the receive window is narrow; 0: it is not.
  var refusedAt: Int64 = 0
  /// The receive window, where it is not narrow; and where it is.
  var windowBytes: Int
  var narrowBytes = 0
  /// What had come at the last look.
  var receivedBytes = 0

  init(_ limits: ServerLimits, now: Int64) {
    openedAt = now
    windowBytes = min(ServerLimits.firstWindowBytes, limits.http2.connectionWindowBytes)
    // +-10 %, so that connections that began together do not end together (gRFC A9).
    let percent = Int64.random(in: 90...110)
    endsAt =
      limits.connectionAgeMilliseconds == 0
      ? Int64.max : now &+ Int64(limits.connectionAgeMilliseconds) &* 10_000 &* percent
  }
}

/// Everything that ends a connection or a call because of time.
extension ServerConnection {
  /// Looks at all timers. Called by the transport on the loop every `ServerLimits.sweepMilliseconds`.
  /// Cost: a few compares where no call is open.
  ///
  /// - Parameters:
  ///   - now: `MonotonicClock.now`.
  ///   - delivered: bytes that the socket has taken so far.
  ///   - waiting: bytes that have been given to it and wait in the process.
  package func tick(now current: Int64, delivered: Int, waiting: Int) {
    guard !lost, !mustClose else { return }
    checkBeginning(current)
    checkHeaderBlock(current)
    checkSocket(current, delivered, waiting)
    checkKeepalive(current)
    widenWindow(current)
    checkRest(current)
    checkAge(current)
    if case .announced = drain, passed(core.limits.drainRoundTripMilliseconds, timers.announcedAt, current) {
      finishAnnouncement()
    }
    if http2.liveStreams > 0 { checkStreams(current) }
  }

  private func passed(_ milliseconds: Int, _ since: Int64, _ now: Int64) -> Bool {
    now &- since >= Int64(milliseconds) &* 1_000_000
  }

  /// A call was refused for want of room, or nearly: those behind it would be, too. What the connection sends from now on waits at
  /// the client until `CreditPace` lets it come.
  func narrowWindow(isRefused: Bool) {
    let isFirst = timers.refusedAt == 0
    timers.refusedAt = now
    guard let pace else { return }
    if isRefused { pace.refused(at: now) }
    if isFirst { http2.withholdsCredit = true }
    let bytes = min(pace.windowBytes, timers.windowBytes)
    // There are more connections by now.
    guard isFirst || 2 * bytes <= timers.narrowBytes else { return }
    timers.narrowBytes = bytes
    http2.setReceiveWindow(bytes)
  }

  @inline(never)
  func waitForCredit() {
    guard !waitsForCredit, let pace else { return }
    waitsForCredit = true
    pace.add(self)
  }

  /// It is this connection's turn to send on.
  func giveCreditBack() {
    waitsForCredit = false
    guard http2.withheldBytes > 0, !lost else { return }
    http2.giveCreditBack()
    driver.flush()
  }

  /// Back to the window that a connection begins with at least, a second after the last refusal; wider, up to the limit, where it has been
  /// used up since the last look, or where half of it waits for handlers.
  private func widenWindow(_ now: Int64) {
    let received = figures.bytesReceived &- timers.receivedBytes
    timers.receivedBytes = figures.bytesReceived
    if timers.refusedAt != 0 {
      guard passed(Self.narrowMilliseconds, timers.refusedAt, now) else { return }
      timers.refusedAt = 0
      http2.withholdsCredit = false
      timers.windowBytes = min(
        max(ServerLimits.firstWindowBytes, timers.narrowBytes), core.limits.http2.connectionWindowBytes)
    } else {
      guard timers.windowBytes < core.limits.http2.connectionWindowBytes,
        received >= timers.windowBytes || 2 * http2.unconsumedBytes >= timers.windowBytes
      else { return }
      timers.windowBytes = min(4 * timers.windowBytes, core.limits.http2.connectionWindowBytes)
    }
    http2.setReceiveWindow(timers.windowBytes)
    driver.flush()
  }

  private static let narrowMilliseconds = 1_000

  private func checkBeginning(_ now: Int64) {
    if http2.settingsAcknowledged, hasSettings { return }
    if !hasSettings, passed(core.limits.prefaceMilliseconds, timers.openedAt, now) {
      cut(.prefaceTimeout, HTTP2ErrorCode.settingsTimeout)
    } else if passed(core.limits.settingsMilliseconds, timers.openedAt, now) {
      cut(.settingsTimeout, HTTP2ErrorCode.settingsTimeout)
    }
  }

  private func checkHeaderBlock(_ now: Int64) {
    guard let block = http2.openHeaderBlock else { return timers.headerBlock = -1 }
    if timers.headerBlock != block {
      timers.headerBlock = block
      timers.headerBlockSince = now
    } else if passed(core.limits.headerBlockMilliseconds, timers.headerBlockSince, now) {
      cut(.headerTimeout, HTTP2ErrorCode.enhanceYourCalm)
    }
  }

  private func checkSocket(_ now: Int64, _ delivered: Int, _ waiting: Int) {
    guard waiting > 0 else { return timers.stalledSince = 0 }
    if timers.stalledSince == 0 {
      timers.stalledSince = now
      timers.stalledAt = delivered
    } else if passed(core.limits.writeStallMilliseconds, timers.stalledSince, now) {
      if delivered &- timers.stalledAt < stallBytes { return cut(.writeStall, HTTP2ErrorCode.cancel) }
      timers.stalledSince = now
      timers.stalledAt = delivered
    }
  }

  /// What has to pass within `writeStallMilliseconds`.
  private var stallBytes: Int {
    core.limits.writeRateMin * core.limits.writeStallMilliseconds / 1_000
  }

  private func checkKeepalive(_ current: Int64) {
    if timers.pingedAt != 0, now < timers.pingedAt {
      if passed(core.limits.keepaliveTimeoutMilliseconds, timers.pingedAt, current) {
        cut(.keepaliveTimeout, HTTP2ErrorCode.noError)
      }
    } else if passed(core.limits.keepaliveMilliseconds, now, current) {
      timers.pingedAt = current
      http2.ping()
      driver.flush()
    } else {
      timers.pingedAt = 0
    }
  }

  private func checkRest(_ now: Int64) {
    guard http2.liveStreams == 0 else { return timers.idleSince = 0 }
    let last = http2.lastStreamID
    if timers.idleSince == 0 || timers.idleStreamID != last {
      timers.idleSince = now
      timers.idleStreamID = last
      return
    }
    let bound = core.limits.connectionIdleMilliseconds
    if bound > 0, passed(bound, timers.idleSince, now) { end(.idle, "max_idle") }
  }

  private func checkAge(_ now: Int64) {
    if http2.lastStreamID >= core.limits.lastStreamID { end(.streamsUsedUp, "stream identifiers") }
    if now >= timers.graceEndsAt {
      endCause = nil
      return cut(.ageGrace, HTTP2ErrorCode.noError)
    }
    guard now >= timers.endsAt, endCause == nil, case .no = drain else { return }
    let grace = core.limits.connectionAgeGraceMilliseconds
    if grace > 0 { timers.graceEndsAt = now &+ Int64(grace) &* 1_000_000 }
    end(.age, "max_age")
  }

  // MARK: - Calls

  private func checkStreams(_ now: Int64) {
    http2.forEachLiveStream { stream in
      if stream.unsentBytes > 0 {
        if stream.pointee.userDeadline != 0, stream.pointee.userDeadline <= now { return giveUp(stream) }
        checkReader(of: stream, now)
      } else {
        stream.pointee.userStalledSince = 0
      }
      switch stream.pointee.userState {
      case CallState.receiving: checkMessage(of: stream, now)
      case CallState.streaming where !stream.unread.isEmpty: checkMessage(of: stream, now)
      case CallState.answered
      where stream.pointee.flags.contains(.answeredEarly) && !stream.pointee.flags.contains(.remoteEnded):
        // Refused, and the client has had the time to end it.
        http2.reset(stream, HTTP2ErrorCode.noError)
        driver.flush()
      default: break
      }
    }
    scheduleNearDeadline()
  }

  /// A message that does not get whole. Deadlines of calls that run already are kept by `sweep`.
  private func checkMessage(of stream: StreamPointer, _ now: Int64) {
    let deadline = stream.pointee.userDeadline
    if stream.pointee.userState == CallState.receiving, deadline != 0, deadline <= now {
      fail(stream, RPCError(.deadlineExceeded, "the call's deadline has passed before its message was whole"))
    } else if passed(
      core.limits.messageIdleMilliseconds, max(stream.pointee.userTouched, stream.pointee.userStart), now)
    {
      cut(
        stream,
        RPCError(
          .deadlineExceeded,
          "a message must go on within \(core.limits.messageIdleMilliseconds) ms, this one did not"))
    }
  }

  /// The deadline has passed while what the call has sent waits for the client: a status would wait behind it.
  private func giveUp(_ stream: StreamPointer) {
    cut(stream, RPCError(.deadlineExceeded, "the call's deadline has passed before its messages were taken"))
    http2.reset(stream, HTTP2ErrorCode.cancel)
    driver.flush()
  }

  /// A client that has asked for messages and does not take them.
  private func checkReader(of stream: StreamPointer, _ now: Int64) {
    if stream.pointee.userStalledSince == 0 {
      stream.pointee.userStalledSince = now
      stream.pointee.userStalledAt = stream.pointee.sentBytes
    } else if passed(core.limits.writeStallMilliseconds, stream.pointee.userStalledSince, now) {
      if stream.pointee.sentBytes &- stream.pointee.userStalledAt < stallBytes {
        core.connections.stalledStreams.add(1)
        cut(stream, RPCError(.cancelled, "the client does not take the call's messages"))
        // A status would wait behind them.
        http2.reset(stream, HTTP2ErrorCode.cancel)
        driver.flush()
      } else {
        stream.pointee.userStalledSince = now
        stream.pointee.userStalledAt = stream.pointee.sentBytes
      }
    }
  }

  // MARK: - Ends

  /// Ends the connection at once, saying why.
  func cut(_ end: ConnectionEnd, _ code: UInt32) {
    record(end, detail: "")
    http2.goAway(code, "\(end)")
    mustClose = true
    driver.flush()
  }

  private func end(_ end: ConnectionEnd, _ text: String) {
    guard case .no = drain else { return }
    record(end, detail: "")
    beginDrain(text)
  }

  /// HTTP/2 cannot go on; what waits in the output tells the client.
  package func failed(_ error: HTTP2Error) {
    mustClose = true
    switch error {
    case .abuse(let abuse): record(ConnectionEnd(abuse), detail: "")
    case .protocolViolation(let text): record(.protocolError, detail: text)
    case .outOfMemory: record(.protocolError, detail: "out of memory")
    }
  }

  /// After output was taken: whether what was sent tells of something that ends the connection.
  @inline(__always)
  package func checkConduct() {
    if mustClose { return }
    do {
      try http2.checkConduct()
    } catch {
      failed(error)
    }
    if let code = http2.failureSent { record(.protocolError, detail: "code \(code)") }
  }

  private func record(_ end: ConnectionEnd, detail: String) {
    guard endCause == nil else { return }
    endCause = end
    core.connections.ended(end)
    if end.isAbuse { core.observer.connectionEnded(peer, end, detail: detail) }
  }
}
