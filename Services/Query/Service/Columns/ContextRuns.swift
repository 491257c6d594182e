/// Rows of a day one after another that have one user and one context. What the two decide is decided for all of them at once.
package struct ContextRuns: Sendable {
  /// `ends[i]`: the row behind the last one of run i. Each user's last row ends a run.
  package private(set) var ends: [UInt32] = []
  /// The number of each run's context.
  private(set) var contexts: [UInt32] = []

  /// Bytes of memory.
  var byteCount: Int { (ends.count + contexts.count) * 4 }

  init() {}

  init(ends: [UInt32], contexts: [UInt32]) {
    precondition(ends.count == contexts.count)
    self.ends = ends
    self.contexts = contexts
  }

  /// Cost: a look at each row.
  init(_ rowContexts: [UInt32], userEnds: [UInt32]) {
    var begin = 0
    for end in userEnds {
      for row in begin..<Int(end) where row + 1 == Int(end) || rowContexts[row] != rowContexts[row + 1] {
        ends.append(UInt32(row + 1))
        contexts.append(rowContexts[row])
      }
      begin = Int(end)
    }
  }

  /// Reads a column of contexts of rows (`ColumnPacker.packRuns`). Cost: where it was packed as runs only those are looked at.
  ///
  /// - Parameters:
  ///   - most: rows that it may have.
  ///   - ends: of the rows' users.
  /// - Throws: `FormatError` where it is none of these rows.
  package init(packed: UnsafeRawBufferPointer, most: Int, ends: [UInt32]) throws {
    self = try ColumnCodec.withPlain(packed, most: most) { bytes in
      if let runs = try ColumnCodec.decodeGroupedRuns(bytes, most: most, ends: ends) { return runs }
      let contexts = try ColumnCodec.decode(UInt32.self, bytes, most: most, ends: ends)
      guard contexts.count == Int(ends.last ?? 0) else {
        throw FormatError("a column does not fit its groups")
      }
      return ContextRuns(contexts, userEnds: ends)
    }
  }

  /// The context of each of some rows, which ascend. Cost: a look at each run up to the last of them.
  func contexts(of rows: [UInt32]) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: rows.count) { target, filled in
      filled = rows.count
      ends.withUnsafeBufferPointer { ends in
        contexts.withUnsafeBufferPointer { contexts in
          var run = 0
          for (index, row) in rows.enumerated() {
            while ends[run] <= row { run &+= 1 }
            target.initializeElement(at: index, to: contexts[run])
          }
        }
      }
    }
  }

  /// The context of each row.
  package var rowContexts: [UInt32] {
    [UInt32](unsafeUninitializedCapacity: Int(ends.last ?? 0)) { target, filled in
      filled = target.count
      var row = 0
      for (index, end) in ends.enumerated() {
        target[row..<Int(end)].initialize(repeating: contexts[index])
        row = Int(end)
      }
    }
  }
}

extension DayColumns {
  /// Whether it is known of what context each row is.
  var knowsContexts: Bool { has.contains(.context) || has.contains(.contextRuns) }

  /// The same day, where only runs of contexts were read with the context of each row.
  var withRowContexts: DayColumns {
    if has.contains(.context) || !has.contains(.contextRuns) { return self }
    var day = self
    day.context = contextRuns.rowContexts
    day.has.insert(.context)
    return day
  }
}
