import Synchronization

/// What threads of one query use in turn, one thread at a time: made when none is at rest.
final class WorkerPool<Worker: AnyObject & Sendable>: Sendable {
  private let state = Mutex<(idle: [Worker], all: [Worker])>(([], []))

  /// All that were made.
  var all: [Worker] { state.withLock { $0.all } }

  func with<Result>(
    make: () throws -> Worker, _ body: (Worker) throws -> Result
  ) throws -> Result {
    let worker = try state.withLock { $0.idle.popLast() } ?? made(make)
    defer { state.withLock { $0.idle.append(worker) } }
    return try body(worker)
  }

  private func made(_ make: () throws -> Worker) throws -> Worker {
    let worker = try make()
    state.withLock { $0.all.append(worker) }
    return worker
  }
}
