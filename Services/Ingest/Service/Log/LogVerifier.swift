import Events
import Store

/// Reads the log and compares what is there with its checksums.
struct LogVerifier: Sendable {
  let store: Store

  /// One piece of the work.
  struct Step: Sendable {
    /// Everything before it has been read.
    var next: UInt64
    var records = 0
    var bytes = 0
    var damaged: [DamagedRecord] = []
  }

  /// Reads from an offset on, about `bytes` of rows.
  ///
  /// - Parameters:
  ///   - offset: where a row begins, or within one.
  ///   - end: beyond `offset`, at most the log's head.
  func step(from offset: UInt64, to end: UInt64, bytes: Int) async throws -> Step {
    try await store.readDetached { connection in
      var pass = Pass(offset: offset, end: end, bytesMax: bytes)
      try pass.run(connection)
      return pass.step
    }
  }
}

private struct Pass {
  private let end: UInt64
  private let bytesMax: Int
  private(set) var step: LogVerifier.Step
  /// A damaged row: how much it covers is known at the next one.
  private var open: DamagedRecord?
  private var isFirst = true

  init(offset: UInt64, end: UInt64, bytesMax: Int) {
    precondition(offset < end)
    self.end = end
    self.bytesMax = bytesMax
    step = LogVerifier.Step(next: offset)
  }

  mutating func run(_ connection: StoreConnection) throws {
    do {
      let isAtEnd = try readRows(connection)
      if isAtEnd { close(at: end) }
    } catch let error as StoreError where error.code == .corrupt || error.code == .io {
      if open == nil { open = .unreadable(step.next, error) }
      close(at: Self.nextReadable(after: open?.offset ?? step.next, end, connection))
    }
  }

  /// - Returns: whether there are no more rows.
  private mutating func readRows(_ connection: StoreConnection) throws -> Bool {
    let statement = try connection.statement(
      """
      SELECT \(LogRow.columns), payload FROM log
      WHERE first_offset >= ifnull((SELECT max(first_offset) FROM log WHERE first_offset <= ?1), 0)
      ORDER BY first_offset
      """)
    defer { statement.reset() }
    try statement.bind(1, Int64(bitPattern: step.next))
    while try statement.step() {
      let row = LogRow(statement)
      guard row.header.firstOffset < end else { return true }
      take(row)
      isFirst = false
      if open == nil, step.bytes >= bytesMax || step.records >= Limits.verifiedRowsMax { return false }
    }
    return true
  }

  private mutating func take(_ row: LogRow) {
    let first = row.header.firstOffset
    if !isFirst || first > step.next { close(at: first) }
    let records = row.records()
    // The last one that begins before a row that is missing.
    if isFirst, records != nil, row.end <= step.next { return }
    step.bytes += Int(clamping: row.header.payloadBytes)
    guard let records, row.end > step.next else {
      step.records += 1
      return open = .mismatch(first)
    }
    // Those before it were read by an earlier step.
    for record in records where record.end > step.next {
      step.records += 1
      step.next = record.end
      if !record.isIntact() {
        var found = DamagedRecord.mismatch(record.firstOffset)
        found.count = record.count
        step.damaged.append(found)
      }
    }
  }

  /// A row begins, or the log ends, at an offset: what lies before it and was not read is damaged.
  private mutating func close(at offset: UInt64) {
    if var found = open {
      found.count = offset &- found.offset
      step.damaged.append(found)
    } else if offset > step.next {
      step.damaged.append(.missing(step.next, count: offset - step.next))
    }
    open = nil
    step.next = max(step.next, offset)
  }

  /// The next row that can be found behind one that cannot be read.
  private static func nextReadable(
    after offset: UInt64, _ end: UInt64, _ connection: StoreConnection
  ) -> UInt64 {
    var distance: UInt64 = 1
    while offset + distance < end {
      // A page that cannot be read hides all its rows: look further behind.
      let found = try? connection.first(
        "SELECT first_offset FROM log WHERE first_offset >= ? ORDER BY first_offset LIMIT 1",
        [.integer(Int64(bitPattern: offset + distance))]
      ) { UInt64(bitPattern: $0.int64(0)) }
      if let found { return min(found, end) }
      distance *= 2
    }
    return end
  }
}
