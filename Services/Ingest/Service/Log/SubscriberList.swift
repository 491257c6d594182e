import RPC
import Store
import Synchronization

/// Who follows the log and how far they are. Kept in the table `subscriber`, written a little later; a crash in between shows
/// a subscriber as less far than it is, which costs nothing.
///
/// A name belongs to one stream. Its epoch counts who took it: a stream that begins without an epoch takes the name and ends
/// the stream before; one that goes on with an epoch goes on only where nobody has taken the name since. So a process that was
/// stopped and wakes up later finds its name taken, and moves nothing.
final class SubscriberList: Sendable {
  /// A row of the table.
  struct Row: Sendable, Equatable {
    let name: String
    var appID = ""
    /// It has applied everything before this.
    var acknowledged: UInt64 = 0
    var epoch: UInt64 = 0
    /// ms since 1970.
    var lastSeen: Int64 = 0
  }

  /// One stream's hold on a name.
  struct Claim: Sendable {
    let name: String
    let epoch: UInt64
    let stream: Int
    /// Raised when another stream takes the name.
    let fence: StreamFence
  }

  /// One subscriber as it stands.
  struct Figure: Sendable {
    let row: Row
    let next: UInt64
    let isConnected: Bool
    let isAway: Bool
  }

  private struct Entry {
    var row: Row
    var next: UInt64
    /// The stream that has the name, 0: none.
    var stream = 0
    var fence: StreamFence?
    var saved: Row?
    /// Told to the log.
    var isSaidAway = false
  }

  private struct State {
    var entries: [String: Entry] = [:]
    var streams = 0
  }

  private let state: Mutex<State>
  /// A name that was away for longer does not hold retention. ms.
  private let awayMilliseconds: Int64

  init(_ rows: [Row], awayMilliseconds: Int64) {
    self.awayMilliseconds = awayMilliseconds
    let entries = rows.map { ($0.name, Entry(row: $0, next: $0.acknowledged, saved: $0)) }
    state = Mutex(State(entries: Dictionary(uniqueKeysWithValues: entries)))
  }

  // MARK: Streams

  /// Takes a name, or goes on with it. The stream that has it is ended.
  ///
  /// - Throws: ABORTED where the epoch is an older one, RESOURCE_EXHAUSTED where there are too many names.
  func claim(
    _ name: String, from offset: UInt64, epoch: UInt64, appID: String, now: Int64
  ) throws(RPCError) -> Claim {
    let fence = StreamFence()
    let outcome = state.withLock { state -> Result<(Claim, StreamFence?), RPCError> in
      if state.entries[name] == nil, state.entries.count >= Limits.subscribersMax {
        guard let gone = state.entries.first(where: { isAway($0.value, now) })?.key else {
          return .failure(IngestErrors.full("subscribers", max: Limits.subscribersMax))
        }
        state.entries[gone] = nil
      }
      var entry = state.entries[name] ?? Entry(row: Row(name: name), next: offset)
      guard epoch == 0 || epoch >= entry.row.epoch else {
        return .failure(IngestErrors.fenced(name, epoch: entry.row.epoch))
      }
      // One that we do not know yet is of a log that was restored from a copy.
      entry.row.epoch = epoch == 0 ? entry.row.epoch + 1 : epoch
      entry.row.acknowledged = offset
      entry.row.appID = appID
      entry.row.lastSeen = now
      entry.next = offset
      entry.isSaidAway = false
      let old = entry.fence
      state.streams += 1
      entry.stream = state.streams
      entry.fence = fence
      state.entries[name] = entry
      return .success(
        (Claim(name: name, epoch: entry.row.epoch, stream: entry.stream, fence: fence), old))
    }
    let (claim, old) = try outcome.get()
    // Not under the lock: it resumes who waits.
    old?.raise()
    return claim
  }

  /// What the name's newest claim is, for the message of one that is over.
  func epoch(of name: String) -> UInt64 { state.withLock { $0.entries[name]?.row.epoch ?? 0 } }

  func sent(_ claim: Claim, next: UInt64) {
    state.withLock { state in
      guard state.entries[claim.name]?.stream == claim.stream else { return }
      state.entries[claim.name]?.next = next
    }
  }

  /// The stream has ended.
  func release(_ claim: Claim, now: Int64) {
    state.withLock { state in
      guard state.entries[claim.name]?.stream == claim.stream else { return }
      state.entries[claim.name]?.stream = 0
      state.entries[claim.name]?.fence = nil
      state.entries[claim.name]?.row.lastSeen = now
    }
  }

  /// - Throws: NOT_FOUND, ABORTED where another one has the name.
  func acknowledge(_ name: String, epoch: UInt64, next: UInt64, now: Int64) throws(RPCError) {
    let error = state.withLock { state -> RPCError? in
      guard var entry = state.entries[name] else { return IngestErrors.unknownSubscriber(name) }
      guard epoch == entry.row.epoch else { return IngestErrors.fenced(name, epoch: entry.row.epoch) }
      entry.row.acknowledged = max(entry.row.acknowledged, next)
      entry.row.lastSeen = now
      entry.next = max(entry.next, entry.row.acknowledged)
      state.entries[name] = entry
      return nil
    }
    if let error { throw error }
  }

  /// - Throws: NOT_FOUND, FAILED_PRECONDITION where it is connected.
  func forget(_ name: String) throws(RPCError) {
    let error = state.withLock { state -> RPCError? in
      guard let entry = state.entries[name] else { return IngestErrors.unknownSubscriber(name) }
      guard entry.stream == 0 else { return IngestErrors.connected(name) }
      state.entries[name] = nil
      return nil
    }
    if let error { throw error }
  }

  // MARK: Figures

  func figures(now: Int64) -> [Figure] {
    state.withLock { state in
      state.entries.values.sorted { $0.row.name < $1.row.name }.map { entry in
        Figure(
          row: entry.row, next: entry.stream == 0 ? entry.row.acknowledged : entry.next,
          isConnected: entry.stream != 0, isAway: isAway(entry, now))
      }
    }
  }

  /// Everything before it may be removed: all who are not away have applied it. nil: there is nobody.
  func retentionBound(now: Int64) -> UInt64? {
    state.withLock { state in
      state.entries.values.filter { !isAway($0, now) }.map(\.row.acknowledged).min()
    }
  }

  /// Who has come to be away for too long since this was last asked.
  func newlyAway(now: Int64) -> [Row] {
    state.withLock { state in
      let names = state.entries.filter { !$0.value.isSaidAway && isAway($0.value, now) }.keys
      for name in names { state.entries[name]?.isSaidAway = true }
      return names.compactMap { state.entries[$0]?.row }
    }
  }

  private func isAway(_ entry: Entry, _ now: Int64) -> Bool {
    entry.stream == 0 && now - entry.row.lastSeen > awayMilliseconds
  }

  // MARK: Saving

  /// The rows that differ from what is written down. Taken for written: `unsave` says where that failed.
  func takeUnsaved(now: Int64) -> [Row] {
    state.withLock { state in
      var rows: [Row] = []
      for (name, entry) in state.entries {
        var row = entry.row
        if entry.stream != 0 { row.lastSeen = now }
        guard mustSave(row, entry.saved) else { continue }
        state.entries[name]?.row = row
        state.entries[name]?.saved = row
        rows.append(row)
      }
      return rows
    }
  }

  func unsave(_ rows: [Row]) {
    state.withLock { state in for row in rows { state.entries[row.name]?.saved = nil } }
  }

  /// That time goes by is written down now and then only.
  private func mustSave(_ row: Row, _ saved: Row?) -> Bool {
    guard var known = saved else { return true }
    guard abs(row.lastSeen - known.lastSeen) < Limits.lastSeenMilliseconds else { return true }
    known.lastSeen = row.lastSeen
    return row != known
  }

  static func load(_ connection: StoreConnection) throws -> [Row] {
    try connection.query("SELECT name, app_id, acknowledged, epoch, last_seen_ms FROM subscriber") {
      Row(
        name: $0.string(0), appID: $0.string(1), acknowledged: UInt64(bitPattern: $0.int64(2)),
        epoch: UInt64(bitPattern: $0.int64(3)), lastSeen: $0.int64(4))
    }
  }

  static func save(_ rows: [Row], _ connection: StoreConnection) throws {
    for row in rows {
      try connection.execute(
        "INSERT OR REPLACE INTO subscriber VALUES (?, ?, ?, ?, ?)",
        [
          .text(row.name), .text(row.appID), .integer(Int64(bitPattern: row.acknowledged)),
          .integer(Int64(bitPattern: row.epoch)), .integer(row.lastSeen),
        ])
    }
  }

  static func remove(_ name: String, _ connection: StoreConnection) throws {
    try connection.execute("DELETE FROM subscriber WHERE name = ?", [.text(name)])
  }
}
