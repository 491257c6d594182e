package import ServiceKit
package import Store
import Subscription

/// What can be set about user-profile beyond what every service has.
package enum UserProfileSettings {
  package static let readers = Setting<Int>.integer(
    "readers", default: 2, in: 1...64, unit: "threads",
    help: "Questions that are answered at a time; others wait.")
  package static let cacheMebibytes = Setting<Int>.integer(
    "cache-mib", default: 8, in: 1...4_096, unit: "MiB",
    help: "Pages of the file that the writer keeps in memory: more of it catches up faster.")

  package static let all =
    IngestSource.settings + [readers.definition, cacheMebibytes.definition]
}

/// The same as values.
package struct UserProfileConfiguration: Sendable {
  package var readers = 2
  package var cacheMebibytes = 8

  package init() {}

  package init(_ settings: Settings) {
    readers = settings[UserProfileSettings.readers]
    cacheMebibytes = settings[UserProfileSettings.cacheMebibytes]
  }

  /// A commit that is lost comes again from the log, so none waits for the disk.
  package var storeOptions: StoreOptions {
    StoreOptions(
      durability: .normal, readers: readers, writerCacheKiB: cacheMebibytes << 10,
      readerCacheKiB: 512)
  }
}
