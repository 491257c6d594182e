package import ServiceKit
package import Store
import Subscription

/// What can be set about query beyond what every service has.
package enum QuerySettings {
  package static let threads = Setting<Int>.integer(
    "query-threads", default: Limits.threadsDefault, in: 1...64, unit: "threads",
    help: "Queries that run at a time; others wait.")
  package static let waitingMax = Setting<Int>.integer(
    "query-waiting-max", default: Limits.waitingQueriesMax, in: 0...100_000, unit: "queries",
    help: "Queries that may wait for a thread; one more is refused.")
  package static let memoryMebibytesMax = Setting<Int>.integer(
    "query-memory-mib-max", default: Limits.queryBytesMax >> 20, in: 16...65_536, unit: "MiB",
    help: "Scratch memory of one query; one that needs more is refused.")
  package static let cacheMebibytesMax = Setting<Int>.integer(
    "cache-mib-max", default: Limits.cacheBytesDefault >> 20, in: 0...65_536, unit: "MiB",
    help: "Decoded days kept between queries; given back after a minute without one.")

  package static let sealRows = Setting<Int>.integer(
    "seal-rows", default: Limits.sealRows, in: 1...Limits.sealRowsSettingMax, unit: "events",
    help: "Events of an app that are merged into its days together; fewer wait for others.")
  package static let retentionDays = Setting<Int>.integer(
    "retention-days", default: 0, in: 0...Limits.rangeDaysMax, unit: "days",
    help: "Days of events that are kept, the log's last one included; 0: all. Older ones are dropped for good.")

  package static let compressAfterSeconds = Setting<Int>.integer(
    "compress-after-seconds", default: Limits.compressAfterSecondsDefault, in: 0...31_536_000,
    unit: "s", help: "Sealed days that were left alone for so long are compressed.")

  package static let answersMebibytesMax = Setting<Int>.integer(
    "answer-cache-mib-max", default: Limits.answerBytesDefault >> 20, in: 0...65_536, unit: "MiB",
    help: "Answers kept until the log goes on; given back after a minute without a query. 0: none.")

  package static let all =
    IngestSource.settings + [
      threads.definition, waitingMax.definition, memoryMebibytesMax.definition,
      cacheMebibytesMax.definition, answersMebibytesMax.definition, sealRows.definition,
      compressAfterSeconds.definition, retentionDays.definition,
    ]
}

/// The same as values.
package struct QueryConfiguration: Sendable {
  package var threads = Limits.threadsDefault
  package var waitingQueriesMax = Limits.waitingQueriesMax
  package var queryBytesMax = Limits.queryBytesMax
  package var cacheBytesMax = Limits.cacheBytesDefault
  package var sealRows = Limits.sealRows
  package var compressAfterSeconds = Limits.compressAfterSecondsDefault
  package var answerBytesMax = Limits.answerBytesDefault
  /// 0: all.
  package var retentionDays = 0

  package init() {}

  package init(_ settings: Settings) {
    threads = settings[QuerySettings.threads]
    waitingQueriesMax = settings[QuerySettings.waitingMax]
    queryBytesMax = settings[QuerySettings.memoryMebibytesMax] << 20
    cacheBytesMax = settings[QuerySettings.cacheMebibytesMax] << 20
    sealRows = settings[QuerySettings.sealRows]
    compressAfterSeconds = settings[QuerySettings.compressAfterSeconds]
    answerBytesMax = settings[QuerySettings.answersMebibytesMax] << 20
    retentionDays = settings[QuerySettings.retentionDays]
  }

  /// How the store is opened: a lost commit comes again from the log, so nothing waits for the disk.
  package var storeOptions: StoreOptions {
    StoreOptions(
      durability: .normal, readers: max(2, threads + 1), pageBytes: 8_192, writerCacheKiB: 2_048,
      readerCacheKiB: 256, givesSpaceBack: true)
  }
}
