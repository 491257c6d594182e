package import Messages
package import RPC
import Store

/// Keeping the log: its subscribers, its integrity, erasure.
package final class LogControlService: LogControlHandlers {
  private let core: IngestCore
  /// ms since 1970.
  private let now: @Sendable () -> Int64

  package init(
    core: IngestCore, now: @escaping @Sendable () -> Int64 = { WallClock.nowMilliseconds }
  ) {
    self.core = core
    self.now = now
  }

  package func acknowledge(
    _ request: ProtoAcknowledgeRequest, context: CallContext
  ) async throws -> ProtoAcknowledgeResponse {
    try IngestErrors.checkSubscriber(request.subscriber)
    let head = core.head
    guard request.nextOffset <= head else {
      throw IngestErrors.beyond("next_offset", request.nextOffset, head: head)
    }
    try core.subscribers.acknowledge(
      request.subscriber, epoch: request.epoch, next: request.nextOffset, now: now())
    return ProtoAcknowledgeResponse()
  }

  package func forgetSubscriber(
    _ request: ProtoForgetSubscriberRequest, context: CallContext
  ) async throws -> ProtoForgetSubscriberResponse {
    try IngestErrors.checkSubscriber(request.subscriber)
    try await core.forgetSubscriber(request.subscriber)
    return ProtoForgetSubscriberResponse()
  }

  package func eraseUser(
    _ request: ProtoEraseUserRequest, context: CallContext
  ) async throws -> ProtoEraseUserResponse {
    let appID = try IngestErrors.appID(request.appID, of: context.principal)
    return try await core.eraseUser(appID: appID, openID: request.openID, now: now())
  }

  package func verifyLog(
    _ request: ProtoVerifyLogRequest, responses: ResponseWriter<ProtoVerifyLogResponse>,
    context: CallContext
  ) async throws {
    var pass = try core.beginVerification(from: request.fromOffset)
    var lastSent = MonotonicClock.now
    while pass.next < pass.end {
      try Task.checkCancellation()
      let found = try await core.verify(&pass)
      let isDue = MonotonicClock.now - lastSent >= Limits.verifyMessageMilliseconds * 1_000_000
      guard found > 0 || isDue, pass.next < pass.end else { continue }
      try await responses.send(Self.message(&pass))
      lastSent = MonotonicClock.now
    }
    try await responses.send(Self.message(&pass))
    core.endVerification(pass)
  }

  private static func message(_ pass: inout LogVerification) -> ProtoVerifyLogResponse {
    var message = ProtoVerifyLogResponse()
    message.nextOffset = pass.next
    message.endOffset = pass.end
    message.records = UInt64(pass.records)
    message.damagedRecords = UInt64(pass.damagedCount)
    message.damaged = pass.takeUntold().map { found in
      var damaged = ProtoDamagedRecord()
      damaged.offset = found.offset
      damaged.count = found.count
      damaged.reason = found.reason
      return damaged
    }
    return message
  }
}
