import Messages
package import RPC
import SwiftProtobuf

/// The log, for the suite's other services.
package final class EventLogService: EventLogHandlers {
  private let core: IngestCore

  package init(core: IngestCore) { self.core = core }

  package func subscribe(
    _ request: [UInt8], responses: ResponseWriter<[UInt8]>, context: CallContext
  ) async throws {
    let request = try Self.request(request)
    let head = core.head
    guard request.fromOffset <= head else {
      throw IngestErrors.beyond(request.fromOffset, head: head)
    }
    guard core.subscribers.connect(request.subscriber, from: request.fromOffset) else {
      throw IngestErrors.full("subscribers", max: Limits.subscribersMax)
    }
    defer { core.subscribers.disconnect(request.subscriber) }
    try await follow(request, responses)
  }

  private static func request(_ bytes: [UInt8]) throws -> ProtoSubscribeRequest {
    let request: ProtoSubscribeRequest
    do {
      request = try ProtoSubscribeRequest(serializedBytes: bytes)
    } catch {
      throw RPCError(.invalidArgument, "not a SubscribeRequest", cause: error)
    }
    guard (1...Limits.subscriberBytesMax).contains(request.subscriber.utf8.count) else {
      throw IngestErrors.invalid(
        "subscriber",
        "1-\(Limits.subscriberBytesMax) bytes; got \(request.subscriber.utf8.count) bytes")
    }
    return request
  }

  /// Sends what there is, then waits for more. Where little comes at a time, a short pause gathers it: a subscriber that
  /// keeps up costs a bounded number of reads, and an event after a quiet time is sent at once.
  private func follow(
    _ request: ProtoSubscribeRequest, _ responses: ResponseWriter<[UInt8]>
  ) async throws {
    var next = request.fromOffset
    var lastSent = Int64.min / 2
    while true {
      try Task.checkCancellation()
      guard !core.isDraining else { throw RPCError(.unavailable, "shutting down") }
      let head = core.head
      guard head > next else {
        if MonotonicClock.now - lastSent >= Int64(Limits.signOfLifeMilliseconds) * 1_000_000 {
          try await responses.send(Self.signOfLife(head))
          lastSent = MonotonicClock.now
        }
        await core.writer.head.wait(beyond: next)
        continue
      }
      let pause = lastSent + Limits.subscriberIntervalMilliseconds * 1_000_000 - MonotonicClock.now
      if pause > 0 { try await Task.sleep(for: .nanoseconds(pause)) }
      let chunk = try await core.reader.chunk(from: next, head: core.head)
      guard chunk.records > 0 else { throw IngestErrors.damaged(next) }
      try await responses.send(chunk.message)
      next = chunk.next
      core.subscribers.advance(request.subscriber, to: next)
      // A backlog is sent without pauses.
      lastSent = chunk.message.count >= Limits.chunkBytes ? lastSent : MonotonicClock.now
    }
  }

  private static func signOfLife(_ head: UInt64) -> [UInt8] {
    var message = ProtoBytes(capacity: 16)
    message.varint(field: 2, head)
    return message.bytes
  }
}
