import Events

/// A batch that obeys the rules, on its way to the writer: everything that needs no order among batches has been decided.
struct PreparedBatch: Sendable {
  let app: AppEntry
  /// The request as it came, without what was taken out of it.
  let message: [UInt8]
  /// CRC-32C of `message`.
  let checksum: UInt32
  let events: [PreparedEvent]
  /// Of the events whose fate so far is not `accepted`, in their order.
  let problems: [EventProblem]
  let device: Hash128
  /// A hash of the batch's `open_id`.
  let user: UInt64
  /// `sdk_version` of the batch's context.
  let sdkVersion: ByteSlice
  /// Of the events that have another one in their own context.
  let ownVersions: [OwnVersion]
  /// What was taken out of the message.
  let removals: [Removal]
  /// Events that came with a `qr_id`, in their order.
  let qrMarks: [QRMark]
  let clock: EventClock
  /// `CollectRequest.batch`.
  let number: UInt64
  /// Its user tests events of the plan: what becomes of the batch is shown.
  let isOfTestUser: Bool
  /// One of the sample whose steps are timed.
  let isTimed: Bool

  /// Bytes of memory that it holds while it waits.
  var byteCount: Int {
    message.count + events.count * MemoryLayout<PreparedEvent>.stride + Limits.batchBytes
  }
}

/// The `sdk_version` of one event of a batch.
struct OwnVersion: BitwiseCopyable, Sendable {
  /// Position in the batch.
  let index: Int
  let version: ByteSlice
}

/// One event of a batch. The bytes lie in the batch's message.
struct PreparedEvent: BitwiseCopyable, Sendable {
  /// With its tag and length.
  let encoded: ByteSlice
  let name: ByteSlice
  /// 0: none.
  let sequence: UInt64
  /// Of the `event_id`; zero where there is a sequence or no id.
  var id = Hash128.zero
  /// Of the user and the event's bytes as they came, whatever was taken out of them; 0 where the event is rejected.
  var content: UInt64 = 0
  /// As the steps before the writer's leave it. An event that they would keep aside is still a duplicate where an earlier
  /// delivery came in: a retry answers as the first.
  var fate = Fate.accepted
  /// It is like one that came before (`KnownShapes`).
  var hasKnownShape = false
  /// Of the app's `SeenShapes`; meaningless where a step before `plan` has refused the event.
  var shape = SeenShapes.other

  var hasID: Bool { id != .zero }
}
