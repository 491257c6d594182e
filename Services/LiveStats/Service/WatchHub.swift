package import Logging
package import Store
import Synchronization

/// Serves all watchers: one topic for each app and page that somebody watches, refreshed at most four times a second from
/// one read, however many watch it.
package final class WatchHub: Sendable {
  package struct TopicKey: Hashable, Sendable {
    package let appID: String
    package let path: String
  }

  /// One stream of Watch.
  package struct Watcher: Sendable {
    package let topic: TopicKey
    let number: UInt64
    /// A wake for each change; those that come while nobody waits are one.
    package let wakes: AsyncStream<Void>
  }

  private struct State {
    var topics: [TopicKey: WatchTopic] = [:]
    var watcherCount = 0
    var nextNumber: UInt64 = 0
    var isClosed = false
  }

  static let refreshMillisecondsMin = 250

  private let store: Store
  private let view: LiveView
  private let logger: Logger
  private let state = Mutex(State())
  private let signals: AsyncStream<Void>
  private let signal: AsyncStream<Void>.Continuation

  package init(store: Store, view: LiveView, logger: Logger) {
    self.store = store
    self.view = view
    self.logger = logger
    (signals, signal) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
  }

  // MARK: Watchers

  /// - Throws: too many watchers or topics.
  package func add(appID: String, path: String) throws(LiveQuestionError) -> Watcher {
    let key = TopicKey(appID: appID, path: path)
    let (wakes, wake) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
    let result = state.withLock { state -> Result<UInt64, LiveQuestionError> in
      guard state.watcherCount < LiveLimits.watchersMax else {
        return .failure(.tooManyWatchers(state.watcherCount))
      }
      guard state.topics[key] != nil || state.topics.count < LiveLimits.topicsMax else {
        return .failure(.tooManyTopics(state.topics.count))
      }
      state.nextNumber += 1
      state.watcherCount += 1
      state.topics[key, default: WatchTopic()].watchers[state.nextNumber] = wake
      if state.isClosed { wake.finish() }
      return .success(state.nextNumber)
    }
    // The first message: at once where the topic is known, else after its first refresh.
    wake.yield()
    signal.yield()
    return Watcher(topic: key, number: try result.get(), wakes: wakes)
  }

  package func remove(_ watcher: Watcher) {
    state.withLock { state in
      guard state.topics[watcher.topic]?.watchers.removeValue(forKey: watcher.number) != nil else {
        return
      }
      state.watcherCount -= 1
      if state.topics[watcher.topic]?.watchers.isEmpty == true {
        state.topics[watcher.topic] = nil
      }
    }
  }

  /// What a watcher is to be sent; nil: nothing is known yet, another wake will come.
  package func update(for watcher: Watcher, after seen: UInt64) -> WatchTopic.Update? {
    state.withLock { $0.topics[watcher.topic]?.update(after: seen) }
  }

  package var watcherCount: Int { state.withLock { $0.watcherCount } }

  /// Ends every stream. For shutting down.
  package func close() {
    state.withLock { state in
      state.isClosed = true
      for topic in state.topics.values { topic.watchers.values.forEach { $0.finish() } }
    }
    signal.finish()
  }

  // MARK: Changes

  /// A commit changed these minutes. Cheap, and never blocks on a reader.
  package func changed(_ changes: [LiveApplier.Change]) {
    let isDue = state.withLock { state in
      var isDue = false
      for key in state.topics.keys {
        for change in changes where change.appID == key.appID {
          state.topics[key]?.note(change.minute, page: change.page)
        }
        isDue = isDue || state.topics[key]?.isDue == true
      }
      return isDue
    }
    if isDue { signal.yield() }
  }

  package func minutePassed() {
    let minute = view.nowMinute
    state.withLock { state in
      for key in state.topics.keys { state.topics[key]?.noteMinutePassed(minute) }
    }
    signal.yield()
  }

  // MARK: Refreshing

  /// Refreshes until cancelled or closed.
  package func run() async {
    await withDiscardingTaskGroup { group in
      group.addTask { await self.tickMinutes() }
      for await _ in signals {
        await refresh()
        // Cancelled: the stream ends with the next round.
        try? await Task.sleep(for: .milliseconds(Self.refreshMillisecondsMin))
      }
      group.cancelAll()
    }
  }

  private func tickMinutes() async {
    while !Task.isCancelled {
      let rest = 60_000 - view.nowMilliseconds % 60_000
      guard (try? await Task.sleep(for: .milliseconds(rest))) != nil else { return }
      minutePassed()
    }
  }

  /// Reads what is due and wakes the watchers.
  package func refresh() async {
    let due = state.withLock { $0.topics.filter { $0.value.isDue }.map(\.key) }
    for key in due { await refresh(key) }
  }

  private func refresh(_ key: TopicKey) async {
    guard let work = state.withLock({ $0.topics[key]?.takeWork() }) else { return }
    let view = self.view
    do {
      let fresh = try await store.readDetached { connection in
        try view.fresh(connection, appID: key.appID, path: key.path, work)
      }
      let horizon = view.horizonMinute
      state.withLock { $0.topics[key]?.publish(fresh, horizonMinute: horizon) }
    } catch {
      state.withLock { $0.topics[key]?.giveBack(work) }
      logger.error("a watched page could not be read", metadata: ["error": "\(error)"])
    }
  }
}
