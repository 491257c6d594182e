import Store
import Synchronization

/// Erased users whose rows are gone but of whom free space of the file may still hold something, by app.
struct ScrubState: Sendable {
  private(set) var erased: [Int64: Set<UInt32>] = [:]
  /// Since the last of them was added.
  var isRewritten = false

  var count: Int { erased.values.reduce(0) { $0 + $1.count } }

  mutating func add(_ app: Int64, _ users: Set<UInt32>) {
    guard !users.isEmpty else { return }
    erased[app, default: []].formUnion(users)
    isRewritten = false
  }
}

extension QueryEngine {
  /// Users who are erased from the log and of whom something may still be here.
  package var waitingErasures: Int {
    let rows = apps.reduce(0) { $0 + $1.tables.withLock { $0.erasing.count } }
    return rows + scrubs.withLock { $0.count }
  }

  /// Where users' rows were taken out: writes the file anew and empties the write-ahead log, so that no byte of them is left. Only
  /// then their erasure counts as done; a start goes on with one that is not. Waits, from one call to the next, for queries
  /// that still read replaced days, and for whoever reads an older state of the file, a backup for instance; the log does not.
  func scrub() throws {
    let state = scrubs.withLock { $0 }
    guard state.count > 0, retired.withLock({ $0.isEmpty }) else { return }
    if !state.isRewritten {
      CrashPoint.reached("erase.beforeRewrite")
      try store.rewrite()
      CrashPoint.reached("erase.rewritten")
      scrubs.withLock { $0.isRewritten = true }
    }
    guard store.checkpoint(truncate: true, waits: false) else { return }
    CrashPoint.reached("erase.truncated")
    try store.write { connection in
      for (app, users) in state.erased {
        try EngineFile.deleteErasures(app, users, in: connection)
      }
    }
    scrubs.withLock { $0 = ScrubState() }
  }
}
