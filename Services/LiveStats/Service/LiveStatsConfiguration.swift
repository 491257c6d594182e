package import ServiceKit
package import Store
import Subscription

/// What can be set about live-stats beyond what every service has.
package enum LiveStatsSettings {
  package static let retentionHours = Setting<Int>.integer(
    "retention-hours", default: 48, in: 1...168, unit: "h",
    help: "How long minutes are kept, by the clock on the wall. Older events are not counted here.")
  package static let readers = Setting<Int>.integer(
    "readers", default: 2, in: 1...64, unit: "threads",
    help: "Questions that are answered at a time; others wait.")

  package static let all =
    IngestSource.settings + [retentionHours.definition, readers.definition]
}

/// The same as values.
package struct LiveStatsConfiguration: Sendable {
  package var retentionMinutes: Int64 = 2_880
  package var readers = 2

  package init() {}

  package init(_ settings: Settings) {
    retentionMinutes = Int64(settings[LiveStatsSettings.retentionHours]) * 60
    readers = settings[LiveStatsSettings.readers]
  }

  /// A commit that is lost comes again from the log, so none waits for the disk.
  package var storeOptions: StoreOptions {
    StoreOptions(
      durability: .normal, readers: readers, writerCacheKiB: 4_096, readerCacheKiB: 512)
  }
}
