import RPC
import Synchronization

/// The batches of one stream between their reading and their answering, in order and at most so many. One task pushes, one
/// pops.
final class OrderedAnswers: Sendable {
  private struct State {
    var tickets: [BatchTicket] = []
    /// Tickets that were pushed and whose answer is not sent.
    var open = 0
    var isFinished = false
    var pusher: CheckedContinuation<Void, Never>?
    var popper: CheckedContinuation<Void, Never>?
  }

  private let state = Mutex(State())
  private let max: Int

  init(max: Int) { self.max = max }

  /// Returns once there is room for another batch, or the other side is gone.
  func waitForRoom() async {
    await withCheckedContinuation { continuation in
      let hasRoom = state.withLock { state in
        if state.open < max || state.isFinished { return true }
        state.pusher = continuation
        return false
      }
      if hasRoom { continuation.resume() }
    }
  }

  func push(_ ticket: BatchTicket) {
    let popper = state.withLock { state in
      state.tickets.append(ticket)
      state.open += 1
      return state.popper.take()
    }
    popper?.resume()
  }

  /// No more is pushed, or no more is popped.
  func finish() {
    let (pusher, popper) = state.withLock { state in
      state.isFinished = true
      return (state.pusher.take(), state.popper.take())
    }
    pusher?.resume()
    popper?.resume()
  }

  /// The next ticket, nil at the end.
  func pop() async -> BatchTicket? {
    while true {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if !state.tickets.isEmpty || state.isFinished { return true }
          state.popper = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
      let (ticket, isOver) = state.withLock { state in
        (state.tickets.isEmpty ? nil : state.tickets.removeFirst(), state.isFinished)
      }
      if let ticket { return ticket }
      if isOver { return nil }
    }
  }

  /// A popped ticket's answer has been sent.
  func answered() {
    let pusher = state.withLock { state in
      state.open -= 1
      return state.pusher.take()
    }
    pusher?.resume()
  }
}
