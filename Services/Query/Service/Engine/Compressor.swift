import Events
import Store
import Synchronization

extension QueryEngine {
  /// Compresses what has been left alone for a while and gives unused pages back, for a short time: call it again and again.
  package func compressQuiet(seconds: Int) throws {
    let begin = ContinuousClock.now
    var hasMore = true
    var didWork = false
    while hasMore, ContinuousClock.now - begin < .milliseconds(200) {
      hasMore = try compressIfQuiet(seconds: seconds)
      if !hasMore, looseDays == 0 { hasMore = try shrinkFile() }
      didWork = didWork || hasMore
    }
    if didWork, !hasMore { store.checkpoint() }
  }

  /// Decoded days, and what the allocator keeps for later.
  package func giveMemoryBack() {
    cache.removeAll()
    Allocator.trim()
  }

  package var cacheBytes: Int { cache.byteCount }

  /// Compresses one sealed day that has not been written for a while, or a piece of a dictionary. Called by the thread that merges.
  ///
  /// - Parameter seconds: for how long a day must have been left alone.
  /// - Returns: whether there was one.
  @discardableResult
  package func compressIfQuiet(seconds: Int) throws -> Bool {
    try merging.withLock { _ in
      let now = ContinuousClock.now
      guard
        let segment = sealedSegments.first(where: {
          !$0.isCompressed && now - $0.writtenAt >= .seconds(seconds)
        })
      else { return try compressDictionaries() }
      try compress(segment)
      return true
    }
  }

  private func compressDictionaries() throws -> Bool {
    for app in apps {
      guard try store.read({ try EngineFile.needsCompaction(app, least: 2, in: $0) }) else { continue }
      try store.write { try EngineFile.compactDictionaries(app, least: 2, in: $0) }
      return true
    }
    return try EngineFile.compressDictionary(store)
  }

  /// Sealed days that are not compressed yet.
  package var looseDays: Int { sealedSegments.reduce(0) { $0 + ($1.isCompressed ? 0 : 1) } }

  private var sealedSegments: [Segment] {
    apps.flatMap { app in app.tables.withLock { Array($0.segments.values) } }
  }

  /// Each column says itself how it is written: whoever reads meanwhile may find some of them so and some so. Blocks hold the
  /// same columns as before.
  private func compress(_ segment: Segment) throws {
    let numbers = try store.read { connection in
      try connection.query(
        "SELECT number FROM segment_column WHERE segment = ? ORDER BY number",
        [.integer(segment.id)]
      ) { $0.int64(0) }
    }
    for number in numbers {
      guard let block = try store.read({ try SegmentTable.bytes(number, of: segment, from: $0) })
      else { continue }
      let smaller =
        try segment.version < SegmentTable.firstVersionOfBlocks
        ? ColumnPacker.compressed(block) : ColumnBlock.compressed(block)
      guard smaller.count < block.count else { continue }
      try store.write { try SegmentTable.replace(number, of: segment, by: smaller, in: $0) }
    }
    try store.write { try SegmentTable.setCompressed(segment, in: $0) }
    segment.setCompressed()
  }

  /// Gives a part of the file's unused pages back to the disk, where they are more than a little.
  ///
  /// - Returns: whether there may be more.
  @discardableResult
  package func shrinkFile() throws -> Bool {
    let (unused, all) = try store.read { connection in
      (
        try connection.first("PRAGMA freelist_count") { $0.int(0) } ?? 0,
        try connection.first("PRAGMA page_count") { $0.int(0) } ?? 0
      )
    }
    guard unused > max(all / 100, 16) else { return false }
    return try store.write { connection in
      let pages = Limits.pagesGivenBackAtATime
      _ = try connection.query("PRAGMA incremental_vacuum(\(pages))") { _ in }
      return unused > pages
    }
  }
}
