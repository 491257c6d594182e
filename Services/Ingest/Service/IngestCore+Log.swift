package import Messages
package import RPC
import Events
import Logging
import Store

/// How far a reading of the log for its checksums has come.
package struct LogVerification: Sendable {
  /// Whether it reads the log from its first offset.
  let isWhole: Bool
  package private(set) var next: UInt64
  package let end: UInt64
  package private(set) var records = 0
  package private(set) var damagedCount = 0
  private var untold: [DamagedRecord] = []
  private var listed = 0

  init(from offset: UInt64, end: UInt64, isWhole: Bool) {
    next = offset
    self.end = end
    self.isWhole = isWhole
  }

  mutating func add(_ step: LogVerifier.Step) {
    next = step.next
    records += step.records
    damagedCount += step.damaged.count
    let room = Limits.damagedRecordsMax - listed
    untold += step.damaged.prefix(room)
    listed += min(step.damaged.count, room)
  }

  mutating func takeUntold() -> [DamagedRecord] {
    defer { untold = [] }
    return untold
  }
}

extension IngestCore {
  // MARK: Subscribers

  /// - Throws: OUT_OF_RANGE where the offset is not in the log.
  func checkOffset(_ offset: UInt64) throws(RPCError) {
    let head = self.head
    guard offset <= head else { throw IngestErrors.beyond("from_offset", offset, head: head) }
    let first = firstOffset
    guard offset >= first else { throw IngestErrors.removed(offset, first: first, head: head) }
  }

  func forgetSubscriber(_ name: String) async throws {
    try subscribers.forget(name)
    try await writer.change { _, connection in try SubscriberList.remove(name, connection) }
  }

  /// Writes down how far the subscribers are, where that has changed.
  func saveSubscribers(now: Int64) async {
    let rows = subscribers.takeUnsaved(now: now)
    guard !rows.isEmpty else { return }
    do {
      try await writer.change { _, connection in try SubscriberList.save(rows, connection) }
    } catch {
      // On a full disk, or while the writer is busy: next time.
      subscribers.unsave(rows)
    }
  }

  /// Offsets and time that each subscriber is behind, by name.
  package func lags(now: Int64) async throws -> [ProtoSubscriberStatus] {
    let head = self.head
    let figures = subscribers.figures(now: now)
    let received = try await received(
      at: figures.map(\.row.acknowledged).filter { $0 < head && $0 >= firstOffset })
    return figures.map { figure in
      let acknowledged = figure.row.acknowledged
      var status = ProtoSubscriberStatus()
      status.name = figure.row.name
      status.nextOffset = figure.next
      status.connected = figure.isConnected
      status.acknowledgedOffset = acknowledged
      status.lagEvents = head > acknowledged ? head - acknowledged : 0
      status.lagMs = received[acknowledged].map { UInt64(max(0, now - $0)) } ?? 0
      status.epoch = figure.row.epoch
      status.lastSeenMs = figure.isConnected ? now : figure.row.lastSeen
      status.appID = figure.row.appID
      status.holdsRetention = !figure.isAway
      return status
    }
  }

  /// When the records that hold these offsets were received.
  private func received(at offsets: [UInt64]) async throws -> [UInt64: Int64] {
    guard !offsets.isEmpty else { return [:] }
    return try await store.readDetached { connection in
      var times: [UInt64: Int64] = [:]
      for offset in offsets {
        times[offset] = try connection.first(
          "SELECT received_ms FROM log WHERE first_offset <= ? ORDER BY first_offset DESC LIMIT 1",
          [.integer(Int64(bitPattern: offset))]
        ) { $0.int64(0) }
      }
      return times
    }
  }

  // MARK: Retention

  /// Removes what the policy lets go, a little at a time.
  package func removeOld(now: Int64) async throws {
    let retention = LogRetention(policy: policy)
    for away in subscribers.newlyAway(now: now) {
      logger.warning(
        "retention does not wait for a subscriber that is away",
        metadata: ["subscriber": "\(away.name)", "acknowledged": "\(away.acknowledged)"])
    }
    let before = firstOffset
    var isPartial = true
    while isPartial {
      try Task.checkCancellation()
      let bound = subscribers.retentionBound(now: now) ?? head
      let step = try await writer.change { appender, connection in
        try retention.step(connection, bound: bound, payloadBytes: appender.rows.payloadBytes, now: now)
      }
      if step.rows > 0 { raiseFirstOffset(to: step.first) }
      isPartial = step.isPartial
    }
    guard firstOffset > before else { return }
    logger.info("old records were removed", metadata: ["first_offset": "\(firstOffset)"])
  }

  // MARK: Integrity

  package func beginVerification(from offset: UInt64) throws(RPCError) -> LogVerification {
    let first = firstOffset
    let offset = offset == 0 ? first : offset
    try checkOffset(offset)
    return LogVerification(from: offset, end: head, isWhole: offset == first)
  }

  /// One piece of the work, about `bytes` of the log.
  ///
  /// - Returns: damaged records that it found.
  @discardableResult
  package func verify(
    _ pass: inout LogVerification, bytes: Int = Limits.verifiedBytes
  ) async throws -> Int {
    // Retention may have removed what was next.
    let next = max(pass.next, firstOffset)
    guard next < pass.end else {
      pass.add(LogVerifier.Step(next: pass.end))
      return 0
    }
    let step = try await LogVerifier(store: store).step(from: next, to: pass.end, bytes: bytes)
    // What was removed meanwhile is not missing.
    let found = step.damaged.filter { $0.offset >= firstOffset }
    for record in found { damage.add(record) }
    var kept = step
    kept.damaged = found
    pass.add(kept)
    return found.count
  }

  package func endVerification(_ pass: LogVerification) {
    if pass.isWhole, pass.damagedCount == 0 { damage.clear() }
  }

  /// Reads the log over and over, at a bounded rate, for its checksums.
  func scrub(bytesPerSecond: Int) async throws {
    let step = min(Limits.scrubbedBytes, bytesPerSecond)
    let pause = Duration.seconds(Double(step) / Double(bytesPerSecond))
    while true {
      var pass = try beginVerification(from: 0)
      while pass.next < pass.end {
        try await Task.sleep(for: pause)
        try await verify(&pass, bytes: step)
      }
      endVerification(pass)
      try await Task.sleep(for: .seconds(Limits.scrubPauseSeconds))
    }
  }

  // MARK: Erasure

  /// Removes a user's events from the log. `run` does the work.
  ///
  /// - Parameter appID: empty: not told.
  package func eraseUser(
    appID: String, openID: String, now: Int64
  ) async throws -> ProtoEraseUserResponse {
    guard !appID.isEmpty else { throw IngestErrors.appRequired }
    guard OpenID(openID) != nil else {
      throw IngestErrors.invalid(
        "open_id",
        "1-\(EventLimits.openIDBytesMax) bytes of UTF-8; got \(openID.utf8.count) bytes")
    }
    guard directory.apps[appID] != nil else { throw IngestErrors.unknownApp(appID) }
    return try await eraser.erase(appID: appID, openID: openID, now: now)
  }
}
