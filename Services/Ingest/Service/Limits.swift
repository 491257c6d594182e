import Events

/// Every bound of the service that a sender cannot see. What a sender may send is bounded by `EventLimits`.
enum Limits {
  /// Batches that wait for the writer.
  static let queuedBatchesMax = 4_096
  /// Bytes of the batches that wait for the writer.
  static let queuedBytesMax = 64 << 20
  /// Batches of one transaction. Beyond about 16 a larger group gains little; a smaller one costs a sync more often.
  static let groupBatchesMax = 256
  static let groupBytesMax = 8 << 20
  /// A refused caller is asked to come back after this long.
  static let pushbackMilliseconds = 100

  /// Devices whose windows are in memory, about 850 bytes each.
  static let cachedDevicesMax = 16_384
  /// Distinct names of fields within an app.
  static let fieldNamesMax = 10_000
  static let appsMax = 10_000
  static let tokensMax = 100_000
  static let nameBytesMax = 128
  static let scopesMax = 16

  /// Batches of one stream that are read before the first of them is answered.
  static let streamBatchesMax = 64
  static let subscriberBytesMax = 64
  static let subscribersMax = 64
  /// A message to a subscriber holds about this much.
  static let chunkBytes = 1 << 20
  /// Records of one message to a subscriber.
  static let chunkRecordsMax = 4_096
  /// A subscriber that keeps up is sent at most one message in this time: fewer, larger ones.
  static let subscriberIntervalMilliseconds: Int64 = 5
  /// Signs of life to subscribers come this often.
  static let signOfLifeMilliseconds = 500

  /// SDK versions that the ledger tells apart on a day of an app; the others are one.
  static let ledgerVersionsMax = 31
  /// Lines of the ledger in memory, about 300 bytes each.
  static let ledgerRowsMax = 8_192
  /// Days that the ledger keeps, unless set otherwise.
  static let ledgerDays = 400
  static let ledgerDaysAskedMax = 400
  /// With a row for each version.
  static let ledgerVersionDaysAskedMax = 92

  /// States of consent in all apps; of those to `analytics` 11 to 22 bytes each are in memory.
  static let consentStatesMax = 8_000_000
  /// Purposes within an app.
  static let purposesMax = 64
  /// Changes kept per user and purpose.
  static let consentChangesMax = 100
  static let deniedFieldsMax = 256
  static let customPatternsMax = 16
  static let customFormBytes = 3...64
  /// What an app's lateness bound may be, ms: an hour to 400 days.
  static let latenessMilliseconds: ClosedRange<Int64> = 3_600_000...34_560_000_000

  static func check() {
    precondition(groupBatchesMax < cachedDevicesMax, "a group's devices must stay in memory")
    precondition(EventLimits.requestBytesMax < groupBytesMax)
    precondition(groupBytesMax < queuedBytesMax && groupBatchesMax <= queuedBatchesMax)
    precondition(streamBatchesMax < queuedBatchesMax)
  }
}
