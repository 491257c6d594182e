import Logging
import Store
import Synchronization

/// A record of the log that is not as it was written.
struct DamagedRecord: Error, Sendable, Equatable {
  let offset: UInt64
  /// Offsets that are lost with it, as far as that can be told.
  var count: UInt64
  let reason: String

  static func mismatch(_ offset: UInt64) -> DamagedRecord {
    DamagedRecord(offset: offset, count: 1, reason: "does not match its checksum")
  }

  static func missing(_ offset: UInt64, count: UInt64) -> DamagedRecord {
    DamagedRecord(offset: offset, count: count, reason: "is missing from the file")
  }

  static func unreadable(_ offset: UInt64, _ error: StoreError) -> DamagedRecord {
    DamagedRecord(offset: offset, count: 1, reason: "cannot be read: \(error)")
  }
}

/// The damaged records that were found since the start. Told to the log and to health once each.
final class LogDamage: Sendable {
  private let offsets = Mutex<Set<UInt64>>([])
  private let logger: Logger
  private let onChange: @Sendable (_ isDamaged: Bool) -> Void

  init(logger: Logger, onChange: @escaping @Sendable (Bool) -> Void) {
    self.logger = logger
    self.onChange = onChange
  }

  var count: Int { offsets.withLock { $0.count } }

  func add(_ found: DamagedRecord) {
    let (isNew, isFirst) = offsets.withLock { offsets in
      let isFirst = offsets.isEmpty
      guard offsets.count < Limits.damagedRecordsMax else { return (false, false) }
      return (offsets.insert(found.offset).inserted, isFirst)
    }
    guard isNew else { return }
    logger.critical(
      "a record of the log is damaged",
      metadata: ["offset": "\(found.offset)", "reason": "\(found.reason)"])
    if isFirst { onChange(true) }
  }

  /// The whole log was read and is as it was written: what was found before was the disk's fault, and is over.
  func clear() {
    let hadSome = offsets.withLock { offsets in
      defer { offsets = [] }
      return !offsets.isEmpty
    }
    if hadSome { onChange(false) }
  }
}
