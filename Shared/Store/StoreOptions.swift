/// How a store is opened.
package struct StoreOptions: Sendable {
  /// When a commit is on disk.
  package enum Durability: Sendable {
    /// `fdatasync` before `write` returns: survives a power cut.
    case full
    /// Synced by checkpoints only: a power cut may take the last commits, never the file's consistency, and a killed
    /// process loses nothing. For stores that can be rebuilt from the log.
    case normal
  }

  package var durability: Durability
  /// Read-only connections, opened as they are needed. 1-64.
  package var readers: Int
  /// Bytes of a page of a new file: a power of two, 512-65,536. A file keeps the size that it was made with.
  package var pageBytes: Int
  /// Page cache of the writing connection, KiB.
  package var writerCacheKiB: Int
  /// Page cache of each reader, KiB.
  package var readerCacheKiB: Int
  /// The write-ahead log is checkpointed between commits once it has grown by this much.
  package var checkpointBytes: Int
  /// Each page of a new file carries a checksum, compared when it is read: one that does not match is `corrupt`. Only programs
  /// that know of it may write such a file. Cost: about 1 us for a page of 8 KiB.
  package var checksPages: Bool
  /// What was durable is remembered beside the file, so that a write-ahead log that has lost some of it is found at the next
  /// start. Cost: two small system calls per commit.
  package var sealsCommits: Bool
  /// What is deleted is overwritten with zeros in the file. Costs a write of each page that is freed.
  package var overwritesDeleted: Bool
  /// A new file keeps track of its pages, so that unused ones can be given back to the disk by `PRAGMA incremental_vacuum`.
  package var givesSpaceBack: Bool
  /// The file's greatest size; a write beyond it fails with `diskFull`. 0: as much as the disk holds.
  package var fileBytesMax: Int

  package init(
    durability: Durability, readers: Int = 4, pageBytes: Int = 4_096, writerCacheKiB: Int = 2_048,
    readerCacheKiB: Int = 1_024, checkpointBytes: Int = 4 << 20, fileBytesMax: Int = 0,
    overwritesDeleted: Bool = false, checksPages: Bool = false, sealsCommits: Bool = false,
    givesSpaceBack: Bool = false
  ) {
    precondition((1...64).contains(readers), "readers must be 1-64")
    precondition(
      pageBytes.nonzeroBitCount == 1 && (512...65_536).contains(pageBytes),
      "pageBytes must be a power of two in 512-65,536")
    precondition(checkpointBytes > 0 && writerCacheKiB > 0 && readerCacheKiB > 0)
    self.durability = durability
    self.readers = readers
    self.pageBytes = pageBytes
    self.writerCacheKiB = writerCacheKiB
    self.readerCacheKiB = readerCacheKiB
    self.checkpointBytes = checkpointBytes
    self.fileBytesMax = fileBytesMax
    self.overwritesDeleted = overwritesDeleted
    self.checksPages = checksPages
    self.sealsCommits = sealsCommits
    self.givesSpaceBack = givesSpaceBack
  }
}

/// One step of a schema. Steps are numbered from 1 without gaps and never changed once released.
package struct Migration: Sendable {
  package let number: Int
  /// One or more statements, run in a transaction together with the new version number.
  package let sql: String

  package init(_ number: Int, _ sql: String) {
    self.number = number
    self.sql = sql
  }
}

/// A value bound to a statement.
package enum StoreValue: Sendable, Equatable, ExpressibleByIntegerLiteral,
  ExpressibleByStringLiteral, ExpressibleByNilLiteral, ExpressibleByFloatLiteral
{
  case null
  case integer(Int64)
  case double(Double)
  case text(String)
  case blob([UInt8])

  package init(integerLiteral value: Int64) { self = .integer(value) }
  package init(stringLiteral value: String) { self = .text(value) }
  package init(nilLiteral: ()) { self = .null }
  package init(floatLiteral value: Double) { self = .double(value) }

  package static func integer(_ value: Int) -> StoreValue { .integer(Int64(value)) }
}

enum Limits {
  /// Prepared statements kept per connection.
  static let cachedStatementsMax = 256
  /// Callers that may wait for a reader.
  static let waitingReadsMax = 4_096
  /// A connection waits this long for a lock that, with one writer and WAL, nobody should hold.
  static let busyTimeoutMilliseconds = 5_000
}
