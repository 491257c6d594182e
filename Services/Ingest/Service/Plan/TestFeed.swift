import Messages
import Synchronization

/// The last observations of an app's test users, and who watches them. A watcher that is slow misses the oldest.
final class TestFeed: Sendable {
  private struct State {
    var observations: [ProtoTestObservation] = []
    /// Of the newest observation.
    var number: UInt64 = 0
    var watchers: [UInt64: AsyncStream<Void>.Continuation] = [:]
    var nextWatcher: UInt64 = 0
  }

  private let state = Mutex(State())

  /// Numbers what was observed and wakes the watchers.
  func publish(_ observations: [ProtoTestObservation]) {
    let watchers = state.withLock { state in
      for observation in observations {
        state.number += 1
        state.observations.append(observation)
        state.observations[state.observations.count - 1].number = state.number
      }
      let surplus = state.observations.count - Limits.Plan.observationsMax
      if surplus > 0 { state.observations.removeFirst(surplus) }
      return Array(state.watchers.values)
    }
    for watcher in watchers { watcher.yield() }
  }

  /// A wake for each change; those that come while nobody waits are one. The first one is there already.
  func watch() -> (id: UInt64, wakes: AsyncStream<Void>) {
    let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let id = state.withLock { state in
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = wake
      return state.nextWatcher
    }
    wake.yield()
    return (id, wakes)
  }

  func leave(_ id: UInt64) { state.withLock { $0.watchers[id] = nil } }

  /// Ends every stream: the service is going down.
  func close() {
    for watcher in state.withLock({ Array($0.watchers.values) }) { watcher.finish() }
  }

  /// What came after an observation, of one event or, with an empty name, of all.
  func observations(
    after number: UInt64, name: String
  ) -> (found: [ProtoTestObservation], missed: UInt64, last: UInt64) {
    state.withLock { state in
      let oldest = state.observations.first?.number ?? state.number + 1
      // Who has seen nothing yet misses nothing.
      let missed = number > 0 && oldest > number + 1 ? oldest - number - 1 : 0
      let found = state.observations.filter { observation in
        observation.number > number && (name.isEmpty || observation.name == name)
      }
      return (found, missed, state.number)
    }
  }
}
