package import Logging
package import Messages
package import RPC
package import RPCTransport
package import Store
internal import Synchronization

/// Follows ingest's log from the position in its own store and gives each record to a consumer exactly once: the
/// consumer's data and the position are committed in one transaction.
///
/// Waits for ingest where it is down, and begins anew where a stream breaks: after 100 ms, then 1 s and 1.6 times as long
/// each time up to 10 s, +-20 %.
package final class LogFollower: Sendable {
  /// For the channel to ingest: the follower waits between attempts itself.
  package static var channelConfiguration: ChannelConfiguration {
    var configuration = ChannelConfiguration()
    configuration.backoffInitialMilliseconds = 20
    configuration.backoffMaxMilliseconds = 100
    return configuration
  }

  private struct Status {
    var position: LogPosition
    var headOffset: UInt64 = 0
    var isConnected = false
    var lastHeard: Int64 = 0
    /// Of the stream that stands or that was the last.
    var requestID = ""
    /// Our hold on the name, 0: none yet. A stream that is taken up again must find it unchanged.
    var epoch: UInt64 = 0
  }

  private let subscriber: String
  private let client: EventLogClient
  private let control: LogControlClient
  private let store: Store
  private let applier: LogApplier
  private let logger: Logger
  private let state: Mutex<Status>

  /// - Parameters:
  ///   - subscriber: how ingest's status calls this consumer, 1-64 bytes.
  ///   - transport: with a token of the scope `events:read`.
  ///   - store: opened with `Directory.migrations` and the consumer's own.
  package init(
    subscriber: String, transport: any ClientTransport, store: Store, directory: Directory,
    consumer: any LogConsumer, logger: Logger
  ) throws {
    precondition((1...64).contains(subscriber.utf8.count), "subscriber: 1-64 bytes")
    self.subscriber = subscriber
    client = EventLogClient(transport)
    control = LogControlClient(transport)
    self.store = store
    applier = LogApplier(
      store: store, directory: directory, consumer: consumer, name: subscriber)
    self.logger = logger
    state = Mutex(Status(position: try store.read { try Directory.position(in: $0) }))
  }

  /// How far the consumer has come. Cost: a lock.
  package var status: ProtoConsumerStatus {
    let now = state.withLock { $0 }
    var status = ProtoConsumerStatus()
    status.nextOffset = now.position.nextOffset
    status.logHeadOffset = max(now.headOffset, now.position.nextOffset)
    status.connected = now.isConnected
    status.lastReceivedMs = now.position.lastReceivedMilliseconds
    return status
  }

  package var position: LogPosition { state.withLock { $0.position } }

  /// Follows until the task is cancelled.
  ///
  /// - Throws: `StoreError` where the store is of no use any more, `LogFault.replaced` where another process follows under
  ///   this name; the service must stop. `CancellationError`.
  package func run() async throws {
    var backoff = Backoff()
    var isKnown = false
    while true {
      try Task.checkCancellation()
      let before = position
      let cause = await followOnce()
      let wasConnected = state.withLock { state in
        defer { state.isConnected = false }
        return state.isConnected
      }
      try Task.checkCancellation()
      if let poison = store.poison { throw poison }
      if let error = cause as? StoreError, error.isFinal { throw error }
      if let error = cause as? RPCError, error.code == .aborted {
        throw LogFault.replaced(name: subscriber, reason: error.message)
      }
      // A record that cannot be applied does not make its connection a good one.
      if wasConnected, Self.isPeersEnd(cause) || position != before { backoff.reset() }
      log(cause, isRepeated: isKnown && !wasConnected)
      isKnown = !wasConnected
      try await Task.sleep(for: .milliseconds(backoff.nextMilliseconds()))
    }
  }

  /// A peer that is down is said once, a record that cannot be applied each time.
  private func log(_ cause: any Error, isRepeated: Bool) {
    let level: Logger.Level = Self.isPeersEnd(cause) ? (isRepeated ? .debug : .warning) : .error
    logger.log(
      level: level, "the log's stream broke",
      metadata: [
        "error": "\(LogText.line("\(cause)"))", "next_offset": "\(position.nextOffset)",
        "request_id": "\(state.withLock { $0.requestID })",
      ])
  }

  /// Whether ingest or the way to it went away, rather than that something of the log cannot be applied.
  private static func isPeersEnd(_ cause: any Error) -> Bool {
    switch cause {
    case is RPCError, LogFault.ended, LogFault.silent: true
    default: false
    }
  }

  /// One stream, until it breaks; returns why.
  private func followOnce() async -> any Error {
    var request = ProtoSubscribeRequest()
    request.fromOffset = position.nextOffset
    request.subscriber = subscriber
    request.epoch = state.withLock { $0.epoch }
    // Ingest's log and ours name the stream alike.
    var options = CallOptions()
    let seed = CallSeed()
    options.metadata.add(RequestID.header, seed.requestID)
    options.metadata.add(RequestID.traceHeader, seed.trace(under: nil).traceparent)
    state.withLock { $0.requestID = seed.requestID }
    do {
      let stream = try await client.subscribe(request, options: options)
      return await follow(stream)
    } catch {
      return error
    }
  }

  private func follow(_ stream: ResponseStream<ProtoSubscribeResponse>) async -> any Error {
    let queue = MessageQueue()
    state.withLock { $0.lastHeard = MonotonicClock.now }
    return await withTaskGroup(of: (any Error).self) { group in
      group.addTask { await self.receive(stream, into: queue) }
      group.addTask { await self.applyAll(queue) }
      group.addTask { await self.watchSilence() }
      group.addTask { await self.acknowledgeAll() }
      let cause = await withTaskCancellationHandler {
        await group.next() ?? CancellationError()
      } onCancel: {
        stream.cancel()
        queue.close()
      }
      // When one ends, the others must not wait.
      stream.cancel()
      queue.close()
      group.cancelAll()
      return cause
    }
  }

  private func receive(
    _ stream: ResponseStream<ProtoSubscribeResponse>, into queue: MessageQueue
  ) async -> any Error {
    do {
      for try await message in stream {
        note(message)
        guard !message.records.isEmpty else { continue }
        // While there is no room it is we who are silent.
        state.withLock { $0.lastHeard = .max }
        await queue.push(message)
        state.withLock { $0.lastHeard = MonotonicClock.now }
      }
      return LogFault.ended
    } catch {
      return error
    }
  }

  private func applyAll(_ queue: MessageQueue) async -> any Error {
    do {
      while let messages = await queue.pop() {
        for part in LogApplier.transactions(messages) {
          let next = try await applier.apply(part, from: position)
          state.withLock { $0.position = next }
        }
      }
      return CancellationError()
    } catch {
      return error
    }
  }

  /// Tells ingest now and then what is committed here, so that it need not be kept there.
  private func acknowledgeAll() async -> any Error {
    // Ingest knows where the stream began.
    var last = position.nextOffset
    do {
      while true {
        try await Task.sleep(for: .milliseconds(FollowLimits.acknowledgeMilliseconds))
        let (next, epoch) = state.withLock { ($0.position.nextOffset, $0.epoch) }
        guard next > last, epoch > 0 else { continue }
        if try await acknowledge(next, epoch) { last = next }
      }
    } catch {
      return error
    }
  }

  /// - Returns: whether ingest knows now. Where the way to it is broken the stream says so.
  /// - Throws: ABORTED where another process has taken the name.
  private func acknowledge(_ next: UInt64, _ epoch: UInt64) async throws -> Bool {
    var request = ProtoAcknowledgeRequest()
    request.subscriber = subscriber
    request.epoch = epoch
    request.nextOffset = next
    do {
      _ = try await control.acknowledge(request)
      return true
    } catch let error as RPCError where error.code != .aborted {
      return false
    }
  }

  private func watchSilence() async -> any Error {
    do {
      while true {
        try await Task.sleep(for: .milliseconds(1_000))
        let lastHeard = state.withLock { $0.lastHeard }
        let silence = Int((MonotonicClock.now - lastHeard) / 1_000_000)
        if silence > FollowLimits.silenceMilliseconds {
          return LogFault.silent(milliseconds: silence)
        }
      }
    } catch {
      return error
    }
  }

  /// Remembers that ingest was heard.
  private func note(_ message: ProtoSubscribeResponse) {
    let isFirst = state.withLock { state in
      state.lastHeard = MonotonicClock.now
      state.headOffset = message.headOffset
      state.epoch = message.epoch
      defer { state.isConnected = true }
      return !state.isConnected
    }
    if isFirst {
      logger.info("following the log", metadata: ["from": "\(position.nextOffset)"])
    }
  }
}

extension StoreError {
  /// Whether no later transaction can succeed.
  var isFinal: Bool { code == .poisoned || code == .closed }
}
