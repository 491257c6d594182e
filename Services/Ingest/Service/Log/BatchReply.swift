import RPC
import Synchronization

/// Where the answer of a batch goes.
enum BatchReply: Sendable {
  /// A unary call that waits.
  case call(ParkedCall)
  /// Somebody who asks for it when its turn comes.
  case ticket(BatchTicket)
}

/// An answer that is not there yet. One asks for it, one gives it.
final class BatchTicket: Sendable {
  private enum State {
    case open
    case waiting(CheckedContinuation<Result<[UInt8], RPCError>, Never>)
    case done(Result<[UInt8], RPCError>)
  }

  private let state = Mutex(State.open)

  init() {}

  /// Gives the answer; a second one is ignored.
  func complete(_ result: Result<[UInt8], RPCError>) {
    let waiter = state.withLock { state in
      switch state {
      case .done: return nil as CheckedContinuation<Result<[UInt8], RPCError>, Never>?
      case .open:
        state = .done(result)
        return nil
      case .waiting(let continuation):
        state = .done(result)
        return continuation
      }
    }
    waiter?.resume(returning: result)
  }

  /// Waits for the answer. The writer answers every batch it took, also when it fails or stops.
  func result() async -> Result<[UInt8], RPCError> {
    await withCheckedContinuation { continuation in
      let result = state.withLock { state in
        if case .done(let result) = state { return result as Result<[UInt8], RPCError>? }
        state = .waiting(continuation)
        return nil
      }
      if let result { continuation.resume(returning: result) }
    }
  }
}
