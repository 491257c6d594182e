import Events
import Messages

/// A batch that obeys the rules, on its way to the writer: everything that needs no order among batches has been decided.
struct PreparedBatch: Sendable {
  let app: AppEntry
  /// The request as it came.
  let message: [UInt8]
  /// CRC-32C of `message`.
  let checksum: UInt32
  let events: [PreparedEvent]
  let device: Hash128
  let clock: EventClock
  /// `CollectRequest.batch`.
  let number: UInt64
  let rejected: [ProtoRejectedEvent]
  let candidates: Int
}

/// One event of a batch. The bytes lie in the batch's message.
struct PreparedEvent: BitwiseCopyable, Sendable {
  enum Disposition: UInt8, BitwiseCopyable, Sendable {
    /// To be kept unless it is known already.
    case candidate
    /// Too old. Still accepted where an earlier delivery came in time: a retry answers as the first.
    case late
    case rejected
  }

  /// With its tag and length.
  let encoded: ByteSlice
  /// 0: none.
  let sequence: UInt64
  /// Of the `event_id`; zero where there is a sequence or no id.
  let id: Hash128
  let content: UInt64
  let disposition: Disposition

  var hasID: Bool { id != .zero }
}
