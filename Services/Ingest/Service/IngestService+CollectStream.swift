import Messages
package import RPC
import SwiftProtobuf

extension IngestService {
  /// Reads ahead of the answers by up to `Limits.streamBatchesMax` batches, so that many share a transaction.
  package func collectStream(
    _ requests: RequestStream<[UInt8]>, responses: ResponseWriter<[UInt8]>, context: CallContext
  ) async throws {
    let answers = OrderedAnswers(max: Limits.streamBatchesMax)
    try await withThrowingTaskGroup(of: Void.self) { group in
      group.addTask {
        defer { answers.finish() }
        try await self.read(requests, into: answers, context.principal)
      }
      group.addTask {
        defer { answers.finish() }
        while let ticket = await answers.pop() {
          let answer = try await ticket.result().get()
          try await responses.send(answer)
          answers.answered()
        }
      }
      try await group.waitForAll()
    }
  }

  private func read(
    _ requests: RequestStream<[UInt8]>, into answers: OrderedAnswers, _ principal: Principal
  ) async throws {
    for try await message in requests {
      await answers.waitForRoom()
      let ticket = BatchTicket()
      do {
        let batch = try message.withUnsafeBytes { bytes in
          try core.collector.prepare(bytes, principal: principal, received: now())
        }
        try await submit(batch, ticket, principal)
      } catch let error as RPCError {
        // These say nothing about the batch: they end the stream.
        if error.code == .unavailable || error.code == .cancelled { throw error }
        ticket.complete(.success(try CollectAnswer.encode(error, number: Self.number(of: message))))
      }
      answers.push(ticket)
    }
  }

  /// Waits while the writer's queue is full, or the key over its limits: the stream's own flow control slows its sender.
  private func submit(
    _ batch: PreparedBatch, _ ticket: BatchTicket, _ principal: Principal
  ) async throws(RPCError) {
    while true {
      do throws(RPCError) {
        if let refusal = core.refusal(bytes: batch.message.count, principal) { throw refusal }
        return try core.submit(batch, .ticket(ticket), principal)
      } catch {
        guard IngestErrors.isPassing(error) else { throw error }
      }
      do {
        try await Task.sleep(for: .milliseconds(Limits.pushbackMilliseconds))
      } catch {
        throw RPCError(.cancelled, "the call was cancelled")
      }
    }
  }

  /// `CollectRequest.batch` of a batch that was refused; 0 where it cannot be read.
  private static func number(of message: [UInt8]) -> UInt64 {
    (try? ProtoCollectRequest(serializedBytes: message).batch) ?? 0
  }
}
