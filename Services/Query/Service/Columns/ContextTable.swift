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

  /// Adds contexts behind these. All columns must have been read.
  ///
  /// - Parameters:
  ///   - words: `ContextColumns.count` words per context.
  ///   - numbers: which contexts of them, in this order.
  mutating func append(_ words: [UInt32], _ numbers: [UInt32]) {
    for position in columns.indices {
      let added = numbers.map { words[Int($0) * ContextColumns.count + position] }
      guard let column = columns[position] else {
        preconditionFailure("column \(position) of the contexts was not asked for")
      }
      if column.isEmpty, !added.contains(where: { $0 != 0 }) { continue }
      let before = column.isEmpty ? [UInt32](repeating: 0, count: count) : column.all
      columns[position] = Words(before + added)
    }
    count += numbers.count
  }

  /// Row by row.
  var words: [UInt32] {
    var words = [UInt32](repeating: 0, count: count * ContextColumns.count)
    for (position, column) in columns.enumerated() {
      for (number, word) in (column?.all ?? []).enumerated() {
        words[number * ContextColumns.count + position] = word
      }
    }
    return words
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
