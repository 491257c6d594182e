internal import Messages
internal import RPC
internal import Synchronization

/// Which services of a process answer. Kept by the process, read by `grpc.health.v1`. Safe from any thread.
package final class HealthBoard: Sendable {
  /// Calls of Watch at once.
  package static let watchersMax = 1_024

  typealias Status = Grpc_Health_V1_HealthCheckResponse.ServingStatus

  private struct Watcher {
    let service: String
    let continuation: AsyncStream<Status>.Continuation
  }

  private struct State {
    var services: [String: Bool] = [:]
    /// Services without which the process still answers.
    var apart: Set<String> = []
    var watchers: [Int: Watcher] = [:]
    var nextWatcher = 0
    var isDraining = false

    /// The process answers where all its services do but those apart. The empty name stands for the process.
    func status(of service: String) -> Status? {
      if service.isEmpty {
        let isMissing = services.contains { !$0.value && !apart.contains($0.key) }
        return isDraining || isMissing ? .notServing : .serving
      }
      return services[service].map { $0 && !isDraining ? .serving : .notServing }
    }
  }

  private let state = Mutex(State())

  package init() {}

  /// Names a service, or says anew whether it answers.
  package func set(_ service: String, serving: Bool) {
    precondition(!service.isEmpty, "the process's own health follows from its services")
    state.withLock { state in
      guard state.services[service] != serving else { return }
      state.services[service] = serving
      Self.tellWatchers(&state)
    }
  }

  /// The same for a service without which the process still answers: a load balancer that asks for the process must not
  /// keep the other services' calls away.
  package func setApart(_ service: String, serving: Bool) {
    state.withLock { _ = $0.apart.insert(service) }
    set(service, serving: serving)
  }

  /// Names a service unless it is named already.
  func setIfNew(_ service: String, serving: Bool) {
    state.withLock { state in
      guard state.services[service] == nil else { return }
      state.services[service] = serving
      Self.tellWatchers(&state)
    }
  }

  /// Whether the process as a whole answers.
  package var isServing: Bool { state.withLock { $0.status(of: "") == .serving } }

  /// NOT_SERVING for all, for good; calls of Watch hear it and end.
  package func drain() {
    let watchers = state.withLock { state -> [Watcher] in
      guard !state.isDraining else { return [] }
      state.isDraining = true
      Self.tellWatchers(&state)
      defer { state.watchers = [:] }
      return Array(state.watchers.values)
    }
    // Not under the lock: ending a stream calls its termination handler, which takes the lock.
    for watcher in watchers { watcher.continuation.finish() }
  }

  func status(of service: String) -> Status? { state.withLock { $0.status(of: service) } }

  /// All services by name, the process under the empty one.
  var all: [String: Status] {
    state.withLock { state in
      var all = ["": state.status(of: "") ?? .unknown]
      for service in state.services.keys { all[service] = state.status(of: service) }
      return all
    }
  }

  /// The present state and then each change; a slow reader misses states in between, never the last one.
  func watch(_ service: String) throws(RPCError) -> AsyncStream<Status> {
    let (stream, continuation) = AsyncStream.makeStream(
      of: Status.self, bufferingPolicy: .bufferingNewest(1))
    let number: Int? = state.withLock { state in
      guard state.watchers.count < Self.watchersMax else { return nil }
      continuation.yield(state.status(of: service) ?? .serviceUnknown)
      guard !state.isDraining else {
        continuation.finish()
        return 0
      }
      state.nextWatcher += 1
      state.watchers[state.nextWatcher] = Watcher(service: service, continuation: continuation)
      return state.nextWatcher
    }
    guard let number else {
      throw RPCError(.resourceExhausted, "more than \(Self.watchersMax) calls of Watch")
    }
    continuation.onTermination = { [weak self] _ in
      self?.state.withLock { _ = $0.watchers.removeValue(forKey: number) }
    }
    return stream
  }

  private static func tellWatchers(_ state: inout State) {
    for watcher in state.watchers.values {
      watcher.continuation.yield(state.status(of: watcher.service) ?? .serviceUnknown)
    }
  }
}
