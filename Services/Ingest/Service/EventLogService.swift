import Messages
package import RPC
import SwiftProtobuf

/// The log, for the suite's other services.
package final class EventLogService: EventLogHandlers {
  /// What health calls it.
  package static var healthName: String { serviceName }

  private let core: IngestCore
  /// ms since 1970.
  private let now: @Sendable () -> Int64

  package init(
    core: IngestCore, now: @escaping @Sendable () -> Int64 = { WallClock.nowMilliseconds }
  ) {
    self.core = core
    self.now = now
  }

  package func subscribe(
    _ request: [UInt8], responses: ResponseWriter<[UInt8]>, context: CallContext
  ) async throws {
    let request = try Self.request(request)
    let appID = try IngestErrors.appID(request.appID, of: context.principal)
    try core.checkOffset(request.fromOffset)
    let claim = try core.subscribers.claim(
      request.subscriber, from: request.fromOffset, epoch: request.epoch, appID: appID, now: now())
    defer { core.subscribers.release(claim, now: now()) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        try await self.follow(
          claim, from: request.fromOffset, .init(appID: appID, epoch: claim.epoch), responses)
      }
      // Ends the other one even where that waits for a client that does not read.
      group.addTask {
        await claim.fence.wait()
        try Task.checkCancellation()
        throw IngestErrors.fenced(claim.name, epoch: self.core.subscribers.epoch(of: claim.name))
      }
      defer { group.cancelAll() }
      try await group.next()
    }
  }

  private static func request(_ bytes: [UInt8]) throws -> ProtoSubscribeRequest {
    let request: ProtoSubscribeRequest
    do {
      request = try ProtoSubscribeRequest(serializedBytes: bytes)
    } catch {
      throw RPCError(.invalidArgument, "not a SubscribeRequest", cause: error)
    }
    try IngestErrors.checkSubscriber(request.subscriber)
    return request
  }

  /// Sends what there is, then waits for more. Where little comes at a time, a short pause gathers it: a subscriber that
  /// keeps up costs a bounded number of reads, and an event after a quiet time is sent at once.
  private func follow(
    _ claim: SubscriberList.Claim, from offset: UInt64, _ question: LogReader.Question,
    _ responses: ResponseWriter<[UInt8]>
  ) async throws {
    var next = offset
    var lastSent = Int64.min / 2
    var ready: LogReader.Chunk?
    while true {
      try Task.checkCancellation()
      guard !core.isDraining else { throw RPCError(.unavailable, "shutting down") }
      let head = core.head
      guard head > next else {
        if MonotonicClock.now - lastSent >= Int64(Limits.signOfLifeMilliseconds) * 1_000_000 {
          try await responses.send(
            LogReader.signOfLife(next: next, head: head, epoch: claim.epoch))
          lastSent = MonotonicClock.now
        }
        await core.writer.head.wait(beyond: next)
        continue
      }
      if ready == nil {
        let pause = lastSent + Limits.subscriberIntervalMilliseconds * 1_000_000 - MonotonicClock.now
        if pause > 0 { try await Task.sleep(for: .nanoseconds(pause)) }
        ready = try await core.reader.chunk(from: next, head: core.head, question)
      }
      guard let chunk = ready else { continue }
      // Of a backlog the next message is read while this one is sent.
      async let following = chunk.isFull && chunk.next < core.head
        ? core.reader.chunk(from: chunk.next, head: core.head, question) : nil
      // A run of other apps' records is told now and then only.
      if chunk.records > 0 || isDue(lastSent) {
        try await responses.send(chunk.message)
        // A backlog is sent without pauses.
        lastSent = chunk.isFull ? lastSent : MonotonicClock.now
      }
      next = chunk.next
      core.subscribers.sent(claim, next: next)
      ready = try await following
    }
  }

  private func isDue(_ lastSent: Int64) -> Bool {
    MonotonicClock.now - lastSent >= Int64(Limits.signOfLifeMilliseconds) * 1_000_000
  }
}
