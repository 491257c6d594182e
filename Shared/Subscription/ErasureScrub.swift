internal import Dispatch
package import Logging
package import Store
internal import Synchronization

/// For consumers that keep rows of users: where those of an erased one are deleted, free pages of the file and the write-ahead log may
/// still hold something of them. Writes the file anew and empties the log, until no byte is left; a start goes on with what was
/// not done.
package final class ErasureScrub: Sendable {
  /// A row for each erasure that is not done.
  package static let statements = "CREATE TABLE erasure_scrub (number INTEGER PRIMARY KEY);"

  private struct State {
    var waiting: Int
    /// Of the transaction that is being made.
    var pending = 0
    /// The last erasure before the file was written anew.
    var rewrittenTo: Int64 = 0
  }

  private let store: Store
  private let state: Mutex<State>
  private let queue = DispatchQueue(label: "footfall.scrub")

  package init(store: Store) throws {
    self.store = store
    let waiting = try store.read { try $0.first("SELECT count(*) FROM erasure_scrub") { $0.int(0) } }
    state = Mutex(State(waiting: waiting ?? 0))
  }

  /// Erased users of whom something may still be in the files.
  package var waiting: Int { state.withLock { max(0, $0.waiting) } }

  // MARK: Within the consumer's transactions

  /// Rows of a user were deleted, or may have been before.
  package func note(in connection: StoreConnection) throws {
    try connection.execute("INSERT INTO erasure_scrub DEFAULT VALUES")
    state.withLock { $0.pending += 1 }
  }

  package func didCommit() {
    state.withLock { state in
      state.waiting += state.pending
      state.pending = 0
    }
  }

  package func didRollBack() { state.withLock { $0.pending = 0 } }

  // MARK: Beside them

  /// Writes the file anew, which takes a few seconds per GB while whoever wants to write waits, and empties the write-ahead log.
  /// Where somebody reads an older state of the file, that is left to the next call.
  ///
  /// - Returns: whether nothing waits any more.
  /// - Throws: `StoreError`; after `diskFull` it can be called again.
  @discardableResult
  package func scrub() throws -> Bool {
    let last = try store.read { try $0.first("SELECT max(number) FROM erasure_scrub") { $0.int64(0) } } ?? 0
    guard last > 0 else { return true }
    if state.withLock({ $0.rewrittenTo }) < last {
      CrashPoint.reached("scrub.begun")
      try store.rewrite()
      CrashPoint.reached("scrub.rewritten")
      state.withLock { $0.rewrittenTo = last }
    }
    guard store.checkpoint(truncate: true, waits: false) else { return false }
    CrashPoint.reached("scrub.truncated")
    let done = try store.write { connection in
      try connection.execute("DELETE FROM erasure_scrub WHERE number <= ?", [.integer(last)])
      return connection.changes
    }
    return state.withLock { state in
      state.waiting -= done
      // Numbers begin anew where no row is left.
      state.rewrittenTo = 0
      return state.waiting <= 0
    }
  }

  /// Scrubs where something waits, until cancelled.
  ///
  /// - Throws: `StoreError` where the store is of no use any more.
  package func run(logger: Logger) async throws {
    while true {
      try await Task.sleep(for: .seconds(FollowLimits.scrubSeconds))
      guard waiting > 0 else { continue }
      do {
        try await scrubDetached()
      } catch let error as StoreError where error.code == .diskFull {
        logger.warning("no space to write the file anew without an erased user", metadata: ["error": "\(error)"])
        try await Task.sleep(for: .seconds(FollowLimits.scrubFullDiskSeconds))
      }
    }
  }

  private func scrubDetached() async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
      queue.async {
        continuation.resume(with: Result { _ = try self.scrub() })
      }
    }
  }
}
