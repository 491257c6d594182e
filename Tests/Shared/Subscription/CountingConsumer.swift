import Events
import Store
import Subscription
import Synchronization

/// Writes down every event with its offset: twice the same offset breaks a unique key.
final class CountingConsumer: LogConsumer {
  struct Refused: Error {}

  static let migration = Migration(
    Directory.firstFreeMigration, "CREATE TABLE seen (position INTEGER PRIMARY KEY, name TEXT)")

  private struct State {
    var gathered: [UInt64] = []
    var published: [UInt64] = []
    var apps: [String] = []
    /// What the batches' app said of the scene 1001 when they came: `source/left out`.
    var scenes: [String] = []
    var rollbacks = 0
    var refusals: Int
  }

  private let state: Mutex<State>
  private let commits: AsyncStream<LogPosition>
  private let committed: AsyncStream<LogPosition>.Continuation

  /// - Parameter refusals: so many first batches are refused.
  init(refusals: Int = 0) {
    state = Mutex(State(refusals: refusals))
    (commits, committed) = AsyncStream.makeStream()
  }

  var published: [UInt64] { state.withLock { $0.published } }
  var apps: [String] { state.withLock { $0.apps } }
  var scenes: [String] { state.withLock { $0.scenes } }
  var rollbacks: Int { state.withLock { $0.rollbacks } }

  /// Waits until the consumer has come that far.
  func waitFor(_ offset: UInt64) async {
    for await position in commits where position.nextOffset >= offset { return }
  }

  func define(_ app: DirectoryApp, in connection: StoreConnection) throws {
    state.withLock { $0.apps.append(app.appID) }
  }

  func apply(_ batch: LogBatch, in connection: StoreConnection) throws {
    let table = batch.app.scenes
    state.withLock { $0.scenes.append("\(table.sourceKey(1001))/\(table.isExcluded(1001))") }
    for (index, event) in batch.reader.events.enumerated() {
      let offset = batch.firstOffset + UInt64(index)
      try connection.execute(
        "INSERT INTO seen VALUES (?, ?)",
        [.integer(Int64(offset)), .text(event.name.text(in: batch.message))])
      state.withLock { $0.gathered.append(offset) }
    }
    let refuses = state.withLock { state in
      defer { state.refusals -= 1 }
      return state.refusals > 0
    }
    if refuses { throw Refused() }
  }

  func didCommit(_ next: LogPosition) {
    state.withLock { state in
      state.published += state.gathered
      state.gathered = []
    }
    committed.yield(next)
  }

  func didRollBack() {
    state.withLock { state in
      state.gathered = []
      state.rollbacks += 1
    }
  }
}
