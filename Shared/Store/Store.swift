import CPageChecks
import Synchronization

/// A SQLite file with one writer and several readers, in WAL mode.
///
/// Exactly one connection writes and checkpoints, and a lock file keeps other processes out: SQLite 3.40 has a rare
/// corruption bug where two connections reset the write-ahead log at the same instant.
///
/// Where the disk is full, the transaction is rolled back as a whole and the error says so; the store goes on.
///
/// After any other failed write, commit, sync or checkpoint the store is poisoned: it is not known what reached the disk, and a
/// second `fsync` may report success for pages that the kernel has thrown away. So nothing is retried, every later call
/// throws `poisoned`, and `onPoison` tells the service to stop. At the next start SQLite recovers the last durable state.
package final class Store: Sendable {
  package let path: String
  private let options: StoreOptions
  private let writer: ConfinedConnection
  private let readers: ReaderPool
  private let state: Mutex<State>
  private let checkpointPages: Int
  private let seal: CommitSeal?
  /// Pages of the write-ahead log when it was last looked at for a checkpoint. Written by the writer's queue only.
  private let checkpointedPages = Atomic<Int>(0)

  private struct State: ~Copyable {
    var lock: StoreLock?
    var poison: StoreError?
    var isClosed = false
    var onPoison: (@Sendable (StoreError) -> Void)?
  }

  /// Opens or makes the file and migrates it.
  ///
  /// - Throws: `locked`, `newerVersion`, `corrupt`, `cannotOpen`, or what a migration threw.
  package init(
    path: String, options: StoreOptions, migrations: [Migration],
    onPoison: (@Sendable (StoreError) -> Void)? = nil
  ) throws {
    self.path = path
    self.options = options
    let lock = try StoreLock(path: path)
    try Migrator.refuseNewer(path, than: migrations)
    try StoreFile.make(path)
    guard footfall_page_checks_register() == 0 else {
      throw StoreError(.cannotOpen, "\(path): the layer of page checksums cannot be registered")
    }
    if options.sealsCommits {
      // Without a seal it is new, or a copy that was put in place.
      if !CommitSeal.exists(database: path), footfall_page_checks_stamp(path) != 0 {
        throw StoreError(.io, "\(path): \(CommitSeal.systemError())")
      }
      try CommitSeal.check(database: path)
    }
    let seal = options.sealsCommits ? try CommitSeal(path: path) : nil
    self.seal = seal
    writer = try ConfinedConnection(path: path, role: .writer, options: options)
    readers = ReaderPool(path: path, options: options)
    state = Mutex(State(lock: lock, onPoison: onPoison))
    let pageBytes = try writer.sync { connection in
      do {
        try Migrator.migrate(connection, migrations)
      } catch {
        // The connection that closes now empties the write-ahead log.
        seal?.release()
        throw error
      }
      return try connection.first("PRAGMA page_size") { $0.int(0) } ?? options.pageBytes
    }
    checkpointPages = max(options.checkpointBytes / pageBytes, 1)
  }

  deinit { close() }

  /// Sets who is told once of a failed write, replacing the one given before.
  package func onPoison(_ callback: @escaping @Sendable (StoreError) -> Void) {
    let poison = state.withLock { state in
      state.onPoison = callback
      return state.poison
    }
    if let poison { callback(poison) }
  }

  /// The failure after which nothing is written any more, if there was one.
  package var poison: StoreError? { state.withLock { $0.poison } }

  // MARK: Writing

  /// Runs the closure in one transaction on the single writer, blocking. On return the transaction is committed, and on
  /// disk where the options say `full`. Where the closure throws, nothing of it is kept. Not reentrant.
  ///
  /// - Parameter checkpoint: false leaves the checkpoint, where one is due, to a later `checkpointIfDue`.
  package func write<T>(checkpoint: Bool = true, _ body: (StoreConnection) throws -> T) throws -> T {
    try writer.sync { connection in
      let result = try transaction(connection, body)
      if checkpoint { self.checkpoint(connection, force: false, truncate: false) }
      return result
    }
  }

  /// The same without blocking the caller's thread.
  package func writeDetached<T: Sendable>(
    _ body: @escaping @Sendable (StoreConnection) throws -> T
  ) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
      writer.async { connection in
        let result = Result { try self.transaction(connection, body) }
        continuation.resume(with: result)
        if case .success = result { self.checkpoint(connection, force: false, truncate: false) }
      }
    }
  }

  private func transaction<T>(
    _ connection: StoreConnection, _ body: (StoreConnection) throws -> T
  ) throws -> T {
    try checkUsable()
    do {
      try connection.begin()
      let result = try body(connection)
      // An error that the closure swallowed still is one.
      if let error = connection.fatalError ?? connection.fullDisk { throw error }
      try commit(connection)
      return result
    } catch {
      if connection.isInTransaction {
        do throws(StoreError) {
          try connection.execute("ROLLBACK")
        } catch {
          poison(error)
        }
      }
      if let fatal = connection.fatalError { poison(fatal) }
      throw error
    }
  }

  private func commit(_ connection: StoreConnection) throws {
    CrashPoint.reached("store.written")
    do throws(StoreError) {
      try connection.execute("COMMIT")
    } catch {
      // What was written of it lies behind the end of the write-ahead log, where the next transaction writes.
      if error.code != .diskFull { poison(error) }
      throw error
    }
    CrashPoint.reached("store.committed")
    seal?.commit(frames: connection.walPageCount)
  }

  private func poison(_ error: StoreError) {
    let callback = state.withLock { state in
      guard state.poison == nil else { return nil as (@Sendable (StoreError) -> Void)? }
      state.poison = error
      return state.onPoison
    }
    callback?(error)
  }

  private func checkUsable() throws(StoreError) {
    let (poison, isClosed) = state.withLock { ($0.poison, $0.isClosed) }
    if let poison {
      throw StoreError(
        .poisoned, "\(path) is not used after a failed write: \(poison.message)",
        sqliteCode: poison.sqliteCode)
    }
    if isClosed { throw StoreError(.closed, "\(path) is closed") }
  }

  // MARK: The whole file

  /// Writes the whole file anew, so that nothing is left in it of what was deleted, and gives its free pages back. Readers go
  /// on; whoever wants to write waits. Needs as much space again, twice. What was deleted may be in the write-ahead log until
  /// `checkpoint(truncate: true)` has emptied that.
  package func rewrite() throws {
    precondition(seal == nil, "a seal does not know of it")
    try writer.sync { connection in
      try checkUsable()
      do throws(StoreError) {
        try connection.execute("VACUUM")
      } catch {
        if error.code != .diskFull { poison(error) }
        throw error
      }
    }
  }

  /// Writes the file as of one commit into a new one, while readers and writer go on. The write-ahead log cannot be used anew
  /// meanwhile.
  ///
  /// - Parameters:
  ///   - path: of a file that does not exist.
  ///   - look: reads the copy.
  package func copy<T>(to path: String, _ look: (StoreConnection) throws -> T) throws -> T {
    try checkUsable()
    let source = try ConfinedConnection(path: self.path, role: .reader, options: options)
    // Nothing is written by a reader, so nothing is lost where closing it fails.
    defer { try? source.close() }
    try source.sync { try $0.execute("VACUUM INTO ?", [.text(path)]) }
    let copy = try ConfinedConnection(path: path, role: .reader, options: options)
    defer { try? copy.close() }
    return try copy.sync(look)
  }

  // MARK: Reading

  /// Runs the closure on a reader that sees one unchanging state, blocking until a reader is free.
  /// Keep it short: while it runs, the write-ahead log behind its state cannot be reused.
  package func read<T>(_ body: (StoreConnection) throws -> T) throws -> T {
    try checkUsable()
    return try readers.withReader { reader in try reader.sync { try Self.snapshot($0, body) } }
  }

  /// The same without blocking the caller's thread: at most `options.readers` run at a time, the others wait.
  package func readDetached<T: Sendable>(
    _ body: @escaping @Sendable (StoreConnection) throws -> T
  ) async throws -> T {
    try checkUsable()
    return try await withCheckedThrowingContinuation { continuation in
      readers.acquire { [readers] acquired in
        switch acquired {
        case .failure(let error): continuation.resume(throwing: error)
        case .success(let reader):
          reader.async { connection in
            let result = Result { try Self.snapshot(connection, body) }
            readers.release(reader)
            continuation.resume(with: result)
          }
        }
      }
    }
  }

  private static func snapshot<T>(
    _ connection: StoreConnection, _ body: (StoreConnection) throws -> T
  ) throws -> T {
    try connection.execute("BEGIN DEFERRED")
    // A reader has nothing to lose by a failed end of its transaction.
    defer { try? connection.execute("ROLLBACK") }
    return try body(connection)
  }

  // MARK: Checkpoints

  /// Checkpoints where the write-ahead log has grown enough; for callers of `write(checkpoint: false)`.
  package func checkpointIfDue() {
    _ = writer.sync { checkpoint($0, force: false, truncate: false) }
  }

  /// Copies the write-ahead log into the file now and cuts it to nothing, as far as no reader needs it: when idle.
  ///
  /// - Parameters:
  ///   - truncate: false only copies, and waits for nobody.
  ///   - waits: false cuts nothing while a reader stands on an older state, where else everybody who wants to write would wait with
  ///     it for seconds: for callers who come again.
  /// - Returns: whether all of the write-ahead log is in the file, and nothing of it left where it was to be cut.
  @discardableResult
  package func checkpoint(truncate: Bool = true, waits: Bool = true) -> Bool {
    writer.sync { checkpoint($0, force: true, truncate: truncate, waits: waits) }
  }

  /// `checkpoint()` without blocking the caller's thread.
  package func checkpointDetached() async -> Bool {
    await withCheckedContinuation { continuation in
      writer.async { connection in
        continuation.resume(returning: self.checkpoint(connection, force: true, truncate: true))
      }
    }
  }

  @discardableResult
  private func checkpoint(
    _ connection: StoreConnection, force: Bool, truncate: Bool, waits: Bool = true
  ) -> Bool {
    guard (try? checkUsable()) != nil else { return false }
    let pages = connection.walPageCount
    var seen = checkpointedPages.load(ordering: .relaxed)
    // The log began anew: SQLite writes from its start once all of it has been copied.
    if pages < seen { seen = 0 }
    guard force || pages - seen >= checkpointPages else { return false }
    if truncate { seal?.release() }
    CrashPoint.reached("checkpoint.begun")
    do throws(StoreError) {
      let isWhole = try connection.checkpoint(truncate: truncate, waits: waits)
      CrashPoint.reached("checkpoint.done")
      checkpointedPages.store(connection.walPageCount, ordering: .relaxed)
      return isWhole
    } catch {
      // On a full disk the write-ahead log keeps what the file has no room for.
      if error.code != .diskFull { poison(error) }
      return false
    }
  }

  /// Waits for what runs, checkpoints, and lets go of the file. Later calls throw `closed`.
  package func close() {
    let wasClosed = state.withLock { state in
      defer { state.isClosed = true }
      return state.isClosed
    }
    guard !wasClosed else { return }
    readers.close()
    if poison == nil {
      // Where this fails the write-ahead log stays, and the next start reads it.
      writer.sync { connection in
        seal?.release()
        _ = try? connection.checkpoint(truncate: true)
      }
      try? writer.close()
    } else {
      // Closing would checkpoint, which writes and syncs what must not be synced again: the connection stays open until the
      // process ends.
      _ = Unmanaged.passRetained(writer)
    }
    state.withLock { $0.lock = nil }
  }
}
