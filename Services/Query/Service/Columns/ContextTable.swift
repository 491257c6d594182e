/// The contexts of a day, column by column: a report reads only the columns that it asks for.
struct ContextTable: Sendable {
  /// Contexts.
  private(set) var count: Int
  /// By position in `ContextColumns`. nil: not read; empty: no context of the day has it.
  private var columns: [Words?]

  /// A column in the fewest bytes: most codes are small. With the highest word.
  private enum Words {
    case narrow([UInt16], highest: UInt16)
    case wide([UInt32], highest: UInt32)

    init(_ words: [UInt32]) {
      let highest = words.highest
      self =
        highest <= UInt16.max
        ? .narrow(Self.narrow(words), highest: UInt16(highest)) : .wide(words, highest: highest)
    }

    private static func narrow(_ words: [UInt32]) -> [UInt16] {
      [UInt16](unsafeUninitializedCapacity: words.count) { target, filled in
        filled = words.count
        words.withUnsafeBufferPointer { words in
          for index in 0..<words.count {
            target.initializeElement(at: index, to: UInt16(truncatingIfNeeded: words[index]))
          }
        }
      }
    }

    var isEmpty: Bool { count == 0 }

    var count: Int {
      switch self {
      case .narrow(let words, _): words.count
      case .wide(let words, _): words.count
      }
    }

    var all: [UInt32] {
      switch self {
      case .narrow(let words, _): words.map { UInt32($0) }
      case .wide(let words, _): words
      }
    }

    subscript(number: Int) -> UInt32 {
      switch self {
      case .narrow(let words, _): UInt32(words[number])
      case .wide(let words, _): words[number]
      }
    }

    var byteCount: Int {
      switch self {
      case .narrow(let words, _): words.count * 2
      case .wide(let words, _): words.count * 4
      }
    }
  }

  /// - Parameter isRead: whether the columns are known to be missing, or not read yet.
  init(count: Int = 0, isRead: Bool = true) {
    self.count = count
    columns = Array(repeating: isRead ? Words([]) : nil, count: ContextColumns.count)
  }

  /// - Parameter words: `ContextColumns.count` words per context.
  init(words: [UInt32]) {
    self.init(count: words.count / ContextColumns.count)
    for position in 0..<ContextColumns.count {
      let column = stride(from: position, to: words.count, by: ContextColumns.count)
        .map { words[$0] }
      set(position, column)
    }
  }

  /// The word of every context: a dictionary code of text, or a number; 0: missing.
  ///
  /// Precondition: the column is among those that were asked for.
  func column(_ position: Int) -> [UInt32] {
    guard let column = columns[position] else {
      preconditionFailure("column \(position) of the contexts was not asked for")
    }
    return column.isEmpty ? Array(repeating: 0, count: count) : column.all
  }

  /// Calls `body` with a look at the column, which costs no copy.
  ///
  /// Precondition: the column is among those that were asked for.
  func withLook<Result>(
    _ position: Int, _ body: (ContextLook) throws -> Result
  ) rethrows -> Result {
    guard let column = columns[position] else {
      preconditionFailure("column \(position) of the contexts was not asked for")
    }
    switch column {
    case _ where column.isEmpty: return try body(ContextLook())
    case .narrow(let words, let highest):
      return try words.withUnsafeBufferPointer {
        try body(ContextLook(narrow: $0.baseAddress, highest: Int(highest)))
      }
    case .wide(let words, let highest):
      return try words.withUnsafeBufferPointer {
        try body(ContextLook(wide: $0.baseAddress, highest: Int(highest)))
      }
    }
  }

  /// The same of one context.
  func word(_ number: Int, _ position: Int) -> UInt32 {
    guard let column = columns[position] else {
      preconditionFailure("column \(position) of the contexts was not asked for")
    }
    return column.isEmpty ? 0 : column[number]
  }

  func holds(_ position: Int) -> Bool { columns[position] != nil }

  /// Columns that some context has.
  var presentColumns: [Int] { columns.indices.filter { !(columns[$0]?.isEmpty ?? true) } }

  mutating func set(_ position: Int, _ column: [UInt32]) {
    precondition(column.isEmpty || column.count == count)
    columns[position] = Words(column.highest > 0 ? column : [])
  }

  /// Contexts that are to be added.
  struct Added {
    /// `ContextColumns.count` words per context.
    let words: [UInt32]
    /// Which contexts of them, in this order.
    let numbers: [UInt32]
  }

  /// Adds contexts behind these. All columns must have been read. Cost: copies each column once.
  mutating func append(_ added: [Added]) {
    let width = ContextColumns.count
    let more = added.reduce(0) { $0 + $1.numbers.count }
    let fresh = Self.transposed(added, more)
    for position in 0..<width {
      guard let column = columns[position] else {
        preconditionFailure("column \(position) of the contexts was not asked for")
      }
      let some = fresh[position * more..<(position + 1) * more]
      if column.isEmpty, !some.contains(where: { $0 != 0 }) { continue }
      var all = column.isEmpty ? [UInt32](repeating: 0, count: count) : column.all
      all += some
      columns[position] = Words(all)
    }
    count += more
  }

  /// Their words column by column, `count` of each.
  private static func transposed(_ added: [Added], _ count: Int) -> [UInt32] {
    let width = ContextColumns.count
    return [UInt32](unsafeUninitializedCapacity: count * width) { target, filled in
      filled = count * width
      var out = 0
      for part in added {
        part.words.withUnsafeBufferPointer { words in
          for number in part.numbers {
            let begin = Int(number) * width
            for position in 0..<width {
              target.initializeElement(at: position &* count &+ out, to: words[begin &+ position])
            }
            out += 1
          }
        }
      }
    }
  }

  /// Bytes of memory, about.
  var byteCount: Int { columns.reduce(512) { $0 + ($1?.byteCount ?? 0) } }
}

/// One column of the contexts while it is read. Good only inside `withLook`.
struct ContextLook {
  /// Neither: no context has the column.
  fileprivate var narrow: UnsafePointer<UInt16>?
  fileprivate var wide: UnsafePointer<UInt32>?
  /// No word is higher.
  fileprivate(set) var highest = 0

  /// The word of a context.
  @inline(__always)
  subscript(number: Int) -> Int {
    if let narrow { return Int(narrow[number]) }
    return wide.map { Int($0[number]) } ?? 0
  }
}

extension ContextTable {
  /// Each context once, in the order of first use, and none that no row uses.
  ///
  /// - Parameter rows: the numbers of the rows' contexts; they become those of the table that is returned.
  ///
  /// Cost: a pass over each column for a hash of every context, then over the rows.
  func compacted(_ rows: inout [UInt32]) -> ContextTable {
    let hashes = hashes
    let kept = withLooks(presentColumns[...]) { looks in
      Self.number(&rows, hashes) { a, b in looks.allSatisfy { $0[a] == $0[b] } }
    }
    var result = ContextTable(count: kept.count)
    for position in presentColumns {
      let column = withLook(position) { look in kept.map { UInt32(truncatingIfNeeded: look[Int($0)]) } }
      result.set(position, column)
    }
    return result
  }

  /// - Returns: the contexts that are kept, by their new numbers.
  private static func number(
    _ rows: inout [UInt32], _ hashes: [UInt32], _ areEqual: (Int, Int) -> Bool
  ) -> [UInt32] {
    let unknown = UInt32.max
    var numbers = [UInt32](repeating: unknown, count: hashes.count)
    var kept: [UInt32] = []
    kept.reserveCapacity(hashes.count)
    var slots = HashSlots()
    slots.removeAll(roomFor: hashes.count)
    rows.withUnsafeMutableBufferPointer { rows in
      for row in rows.indices {
        let old = Int(rows[row])
        if numbers[old] == unknown {
          let hash = hashes[old]
          let known = slots.first(hash) { areEqual(Int(kept[Int($0) - 1]), old) }
          if known == nil {
            kept.append(UInt32(old))
            slots.insert(UInt32(kept.count), hash)
          }
          numbers[old] = (known ?? UInt32(kept.count)) - 1
        }
        rows[row] = numbers[old]
      }
    }
    return kept
  }

  /// Of each context. Columns that no context has do not count.
  private var hashes: [UInt32] {
    var states = [UInt64](repeating: 0, count: count)
    states.withUnsafeMutableBufferPointer { states in
      for position in presentColumns {
        withLook(position) { look in
          for number in states.indices {
            states[number] = ByteHash.mixed(states[number], UInt64(truncatingIfNeeded: look[number]))
          }
        }
      }
    }
    return states.map { UInt32(truncatingIfNeeded: $0 ^ $0 >> 32) }
  }

  /// The same as `withLook`, of several columns.
  private func withLooks<Result>(
    _ positions: ArraySlice<Int>, _ looks: [ContextLook] = [], _ body: ([ContextLook]) -> Result
  ) -> Result {
    guard let first = positions.first else { return body(looks) }
    return withLook(first) { withLooks(positions.dropFirst(), looks + [$0], body) }
  }
}
