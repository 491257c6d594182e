import Dispatch
import Synchronization

/// The read-only connections of a store, opened when first needed, each used by one caller at a time.
final class ReaderPool: Sendable {
  private struct State {
    var idle: [ConfinedConnection] = []
    /// Open connections, those in use included.
    var opened = 0
    var waiting: [@Sendable (Result<ConfinedConnection, StoreError>) -> Void] = []
    var isClosed = false
  }

  private enum Step {
    case use(ConfinedConnection)
    case open
    case wait
    case fail(StoreError)
  }

  private let path: String
  private let options: StoreOptions
  private let state = Mutex(State())
  /// Signalled for each reader that comes back after `close` began.
  private let drained = DispatchSemaphore(value: 0)

  init(path: String, options: StoreOptions) {
    self.path = path
    self.options = options
  }

  /// Runs the closure on a connection that nobody else uses, blocking until one is free.
  func withReader<T>(_ body: (ConfinedConnection) throws -> T) throws -> T {
    let slot = Slot()
    acquire { slot.fill($0) }
    let reader = try slot.take().get()
    defer { release(reader) }
    return try body(reader)
  }

  /// Calls back with a connection, at once or when one is free. Give it back with `release`.
  func acquire(_ ready: @escaping @Sendable (Result<ConfinedConnection, StoreError>) -> Void) {
    let step: Step = state.withLock { state in
      if state.isClosed { return .fail(StoreError(.closed, "\(path) is closed")) }
      if let reader = state.idle.popLast() { return .use(reader) }
      if state.opened < options.readers {
        state.opened += 1
        return .open
      }
      guard state.waiting.count < Limits.waitingReadsMax else {
        return .fail(StoreError(.busy, "\(Limits.waitingReadsMax) reads of \(path) wait already"))
      }
      state.waiting.append(ready)
      return .wait
    }
    switch step {
    case .use(let reader): ready(.success(reader))
    case .open: ready(open())
    case .wait: break
    case .fail(let error): ready(.failure(error))
    }
  }

  private func open() -> Result<ConfinedConnection, StoreError> {
    do throws(StoreError) {
      return .success(try ConfinedConnection(path: path, role: .reader, options: options))
    } catch {
      state.withLock { $0.opened -= 1 }
      return .failure(error)
    }
  }

  func release(_ reader: ConfinedConnection) {
    let next = state.withLock { state in
      if state.waiting.isEmpty {
        if !state.isClosed { state.idle.append(reader) }
        return nil as (@Sendable (Result<ConfinedConnection, StoreError>) -> Void)?
      }
      return state.waiting.removeFirst()
    }
    if let next { return next(.success(reader)) }
    closeIfLast(reader)
  }

  private func closeIfLast(_ reader: ConfinedConnection) {
    guard state.withLock({ $0.isClosed }) else { return }
    // Nothing is written by a reader, so nothing is lost where closing it fails.
    try? reader.close()
    drained.signal()
  }

  /// Waits for the readers in use, then closes all. Callers that wait for one get their turn first.
  func close() {
    let (idle, inUse) = state.withLock { state in
      guard !state.isClosed else { return ([ConfinedConnection](), 0) }
      state.isClosed = true
      defer { state.idle = [] }
      return (state.idle, state.opened - state.idle.count)
    }
    for reader in idle { try? reader.close() }
    for _ in 0..<inUse { drained.wait() }
  }
}

/// Hands one value from a callback to the thread that waits for it.
private final class Slot: Sendable {
  private let value = Mutex<Result<ConfinedConnection, StoreError>?>(nil)
  private let ready = DispatchSemaphore(value: 0)

  func fill(_ result: Result<ConfinedConnection, StoreError>) {
    value.withLock { $0 = result }
    ready.signal()
  }

  func take() -> Result<ConfinedConnection, StoreError> {
    ready.wait()
    return value.withLock { $0 } ?? .failure(StoreError(.busy, "no reader was handed over"))
  }
}
