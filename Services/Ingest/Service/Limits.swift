import Events

/// Every bound of the service that a sender cannot see. What a sender may send is bounded by `EventLimits`.
package enum Limits {
  /// Batches that wait for the writer.
  static let queuedBatchesMax = 4_096
  /// How large a batch is taken to be before its bytes have come, bytes of memory.
  static let usualBatchBytes = 16 << 10
  /// Bytes of memory of the batches that wait for the writer, at most and at least: between the two, what is written in
  /// `queueDelayMilliseconds` or in `queuedGroups`. The least is what 64 clients send that come at once, each with the window that a connection begins with,
  /// and a half.
  package static let queuedBytesMax = 64 << 20
  package static let queuedBytesMin = 12 << 20
  static let queueDelayMilliseconds = 60
  /// As many transactions may wait where they take longer, up to so long.
  static let queuedGroups = 4
  static let queueDelayMillisecondsMax = 400
  /// A queue that has not run low while the writer wrote for so long stands; then it is held to half of its time. A group counts for so
  /// much at most.
  static let standingNanoseconds: Int64 = 200_000_000
  static let watchedGroupNanosecondsMax: Int64 = 25_000_000
  /// Low is what is written in so long; so little as the second says that the writer has had nothing to do.
  static let standingLeadMilliseconds = 7.5
  static let idleLeadMilliseconds = 1.0
  package static let standingBytesMin = 6 << 20
  /// Smaller groups tell nothing of the writer's speed: their time is the disk's.
  static let rateGroupBytesMin = 256 << 10
  /// What a batch that waits takes beside its bytes: itself, and each of its events.
  static let batchBytes = 512
  /// Batches of one transaction. Beyond about 16 a larger group gains little; a smaller one costs a sync more often.
  static let groupBatchesMax = 256
  static let groupBytesMax = 8 << 20
  /// Bytes of a row of several batches: what a page that cannot be read takes with it at most, but for a larger batch, which has a
  /// row to itself.
  static let rowBytesMax = 256 << 10
  /// The write-ahead log is copied into the file after so many bytes: commits wait meanwhile. With 4 MiB the slowest of a hundred
  /// answers took 12 ms, with this 4 ms, at no cost: what is copied still lies in the processor's cache.
  static let checkpointBytes = 512 << 10
  /// A refused caller is asked to come back after this long where the writer's speed is not known; else after about as long as
  /// the queue takes, between the other two.
  static let pushbackMilliseconds = 100
  /// The same where the disk is full.
  static let diskFullPushbackMilliseconds = 1_000
  /// On a full disk a transaction is tried this often; batches in between are refused at once.
  static let diskFullRetryMilliseconds = 250
  static let pushbackMillisecondsMin = 10
  static let pushbackMillisecondsMax = 2_000
  /// Limits of a key at most.
  static let keyEventsPerSecondMax: UInt64 = 1_000_000_000
  static let keyBytesPerSecondMax: UInt64 = 1_000_000_000_000

  /// Devices whose windows are in memory, about 900 bytes each; of each on disk a few bytes are.
  package static let cachedDevicesMax = 131_072
  /// Bytes of one half of the devices' journal: what a start after a crash reads at most twice, in half a second. With less, windows
  /// are written more often.
  package static let deviceJournalBytesMax = 32 << 20
  /// Days for which the ids of events that came in time are remembered: the lateness bound and one more, because an event's
  /// time may lie up to 5 minutes after its receipt, and a run of ids begins and ends with a day.
  package static let eventIDDays = 8
  /// The same for the ids of imports.
  package static let importIDDays = 90
  /// Ids that are remembered at most, about 7 bytes of memory and 18 on disk each.
  package static let eventIDsMax = 100_000_000
  /// Ids of one run, about 40 bytes of memory each until it is sealed.
  package static let eventIDRunMax = 65_536
  /// Ids of one index.
  static let eventIDIndexMax = 1 << 24
  /// Rows of ids out of the window that one transaction deletes.
  static let eventIDBucketsDeletedAtOnce = 16
  /// Places of the table of shapes that events were found to have, 256 bytes each, for each reader. A power of two.
  static let knownShapesMax = 512
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
  /// Rows that are read for one message, those of other apps included.
  static let chunkRowsMax = 16_384
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
  /// How far subscribers are is written down this often, while it changes.
  static let subscribersSavedMilliseconds = 1_000
  /// When a connected subscriber was last seen is written down this often.
  static let lastSeenMilliseconds: Int64 = 60_000

  /// Damaged records that are remembered and listed.
  static let damagedRecordsMax = 1_000
  /// Rows of one step of reading the log for its checksums.
  static let verifiedRowsMax = 16_384
  static let verifiedBytes = 4 << 20
  /// Messages of VerifyLog come at least this often.
  static let verifyMessageMilliseconds: Int64 = 500
  /// A step of the reading in the background.
  static let scrubbedBytes = 256 << 10
  /// Between the end of one such reading of the log and the next.
  static let scrubPauseSeconds = 3_600

  /// Rows and bytes that one transaction of retention removes.
  static let retentionRowsMax = 256
  static let retentionBytes = 2 << 20
  static let retentionSeconds = 5

  /// Rows that one transaction of an erasure rewrites.
  static let erasedRowsMax = 64
  /// Rows of quarantine that are looked at in one read.
  static let erasureQuarantineRowsMax = 256
  /// Erasures that wait.
  static let erasuresMax = 1_024
  /// An erasure waits this long for readers to let go of the write-ahead log.
  static let erasureCheckpointSeconds = 60

  /// The tracking plan of an app.
  enum Plan {
    /// Events of an app's plan, archived ones included.
    static let eventsMax = 2_000
    static let pagesMax = 2_000
    /// Of one encoded definition: lists of events and of changes stay far below the bound of an answer.
    static let definitionBytesMax = 64 << 10
    /// Unicode scalars.
    static let chineseNameMax = 32
    static let descriptionBytesMax = 1_024
    static let fieldDescriptionBytesMax = 256
    /// An event cannot have more fields than can be sent.
    static let fieldsMax = EventLimits.fieldsPerEventMax
    static let actionsMax = 10
    static let elementBytesMax = 256
    static let dataPathBytesMax = 256
    static let testUsersMax = 20
    /// Of one answer.
    static let violationsMax = 1_000
    /// Of one error's message.
    static let violationsToldMax = 10
    /// Changes that are kept of each event.
    static let historyMax = 1_000
    static let historyPageMax = 100
    static let historyPageDefault = 20
    /// Lines that say what a change changed.
    static let detailsMax = 100
    static let listPageMax = 200
    static let listPageDefault = 50
    static let searchBytesMax = 128
    /// A plan as text.
    static let documentBytesMax = 4 << 20

    /// Names that an app's events are counted under, beside those of its plan; what is sent under more is counted as `other`.
    static let seenNamesMax = 4_000
    /// Combinations of a name and fields that an app's events are counted by, about 150 bytes each.
    static let seenShapesMax = 4_000
    /// The same of all apps.
    static let seenShapesOfAllMax = 200_000
    /// What was counted is written down this often; after a crash the rest is counted again from the log.
    static let seenSavedMilliseconds: Int64 = 1_000

    /// Observations of test users that are kept of each app, for those who begin to watch.
    static let observationsMax = 256
    /// Observations of one batch.
    static let observationsPerBatchMax = 100
    static let observedTextBytesMax = 256
    /// Calls of WatchTest at once.
    static let watchersMax = 64
  }

  /// Events of one app that are kept aside; beyond it the oldest are dropped. As many that have left are remembered.
  static let quarantineEventsMax = 100_000
  /// Bytes of the events of one app that are kept aside.
  static let quarantineBytesMax = 256 << 20
  static let quarantinePageDefault = 100
  static let quarantinePageMax = 1_000
  static let quarantineFilterReasonsMax = 64
  /// Ids of one call.
  static let quarantineIDsMax = 1_000
  /// Events that one call with a filter changes.
  static let quarantineSelectionDefault = 1_000
  static let quarantineSelectionMax = 10_000
  /// Events that one transaction changes: about 10 ms, for which batches wait.
  static let quarantineTransactionEventsMax = 128
  /// Problems that the answer of a replay names.
  static let quarantineProblemsMax = 1_000
  static let quarantineNoteBytesMax = 256

  // MARK: Sources (proto/footfall/ingest/v1/sources.proto)

  /// Overrides in force of one app.
  static let sceneOverridesMax = 1_000
  /// Overrides or codes of one change.
  static let sceneChangesMax = 500
  /// Changes of one app's table of scenes: all are kept.
  static let sceneVersionsMax: UInt64 = 10_000
  static let noteBytesMax = 256
  static let channelGroupsMax = 100
  static let channelRulesMax = 32
  /// Values of one rule.
  static let channelValuesMax = 500
  static let qrCodesMax = 100_000
  static let qrIDBytesMax = 64
  /// qr_ids of one app that nobody registered and that are counted one by one; the rest is counted together.
  static let unregisteredQRCodesMax = 10_000
  static let campaignsMax = 10_000
  static let campaignBudgetMax: Int64 = 1_000_000_000_000_000
  static let linkParametersMax = 32
  static let linkNameBytesMax = 64
  static let linkValueBytesMax = 1_024
  static let linkBytesMax = 8_192
  /// Rows of one page of a list.
  static let pageRowsMax: UInt32 = 1_000
  static let pageRowsDefault: UInt32 = 100

  static func check() {
    precondition(Plan.observationsPerBatchMax <= Plan.observationsMax)
    precondition(EventLimits.requestBytesMax < groupBytesMax)
    precondition(knownShapesMax.nonzeroBitCount == 1 && EventLimits.nameBytesMax <= UInt8.max)
    precondition(groupBytesMax < queuedBytesMax && groupBatchesMax <= queuedBatchesMax)
    precondition(streamBatchesMax < queuedBatchesMax)
  }
}
