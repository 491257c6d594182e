/// Writes the columns of a day's contexts. A brand follows from a model, a province from a city: such a column is written as the
/// values that belong to those of the other one.
enum ContextPacker {
  /// A column as the numbers of its different values.
  private struct Numbered {
    let position: Int
    let values: [UInt32]
    /// The different values, the most frequent first.
    let table: [UInt32]
    /// Of each context, which one it has.
    let numbers: [UInt32]

    /// - Returns: nil where they are too many for others to follow from.
    init?(_ position: Int, _ values: [UInt32]) {
      guard let low = values.min(), let high = values.max(),
        high - low < Limits.followedSpanMax
      else { return nil }
      var counts = [UInt32](repeating: 0, count: Int(high - low) + 1)
      for value in values { counts[Int(value - low)] += 1 }
      let different = counts.indices.filter { counts[$0] > 0 }
      guard different.count <= Limits.followedValuesMax else { return nil }
      let order = different.sorted { (counts[$1], $0) < (counts[$0], $1) }
      for (number, index) in order.enumerated() { counts[index] = UInt32(number) }
      self.position = position
      self.values = values
      table = order.map { UInt32($0) + low }
      numbers = values.map { counts[Int($0 - low)] }
    }
  }

  /// The columns that some context has, by position.
  static func pack(_ contexts: ContextTable) -> [(position: Int, bytes: [UInt8])] {
    let positions = contexts.presentColumns
    var packed: [(position: Int, bytes: [UInt8])] = []
    var numbered: [Numbered] = []
    for position in positions {
      let column = contexts.column(position)
      if let one = Numbered(position, column), one.table.count > 1 {
        numbered.append(one)
      } else {
        packed.append((position, ColumnPacker.pack(column)))
      }
    }
    // What has more values cannot follow from what has fewer.
    numbered.sort { ($1.table.count, $0.position) < ($0.table.count, $1.position) }
    var roots: [Numbered] = []
    var followed: Set<Int> = []
    for one in numbered {
      let follower = roots.lazy.compactMap { root in
        ContextFollower(one.values, of: root.numbers, root.table.count, parent: root.position)
      }.first
      if let follower {
        followed.insert(follower.parent)
        packed.append((one.position, follower.encode()))
      } else {
        roots.append(one)
      }
    }
    for root in roots {
      packed.append(
        (
          root.position,
          followed.contains(root.position)
            ? ColumnPacker.packDictionary(root.numbers, of: root.table)
            : ColumnPacker.pack(root.values)
        ))
    }
    return packed.sorted { $0.position < $1.position }
  }
}

/// A column of contexts that follows from another one, but for a few.
struct ContextFollower {
  /// The other column, which is written as numbers of its values.
  let parent: Int
  /// By the number of the other column's value.
  private let table: [UInt32]
  /// The contexts that have something else, ascending, and what.
  private var places: [UInt32] = []
  private var exceptions: [UInt32] = []

  /// - Returns: nil where it does not follow.
  init?(_ values: [UInt32], of numbers: [UInt32], _ count: Int, parent: Int) {
    // What stands for a value must be worth its bytes.
    guard count <= max(values.count / 8, 2) else { return nil }
    let most = values.count / Limits.contextsPerException
    var table = [UInt32](repeating: 0, count: count)
    var isKnown = [Bool](repeating: false, count: count)
    for (place, value) in values.enumerated() {
      let number = Int(numbers[place])
      if !isKnown[number] {
        isKnown[number] = true
        table[number] = value
      } else if table[number] != value {
        places.append(UInt32(place))
        exceptions.append(value)
        if places.count > most { return nil }
      }
    }
    self.table = table
    self.parent = parent
  }

  func encode() -> [UInt8] {
    var writer = ByteWriter()
    writer.append(ColumnCodec.Tag.ofParent)
    writer.append(UInt32(parent))
    writer.appendBlock(ColumnPacker.pack(table))
    writer.appendBlock(ColumnPacker.packAscending(places))
    writer.appendBlock(ColumnPacker.pack(exceptions))
    return writer.bytes
  }

  /// - Returns: nil where the column stands for itself.
  init?(_ column: UnsafeRawBufferPointer, most: Int) throws(FormatError) {
    guard column.first == ColumnCodec.Tag.ofParent else { return nil }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: column[1...]))
    parent = Int(try reader.uint32())
    table = try ColumnCodec.decode(UInt32.self, reader.block(), most: most)
    places = try ColumnCodec.decode(UInt32.self, reader.block(), most: most)
    exceptions = try ColumnCodec.decode(UInt32.self, reader.block(), most: most)
    guard reader.isAtEnd, parent < ContextColumns.count, places.count == exceptions.count else {
      throw FormatError("a column that follows from another one is damaged")
    }
  }

  /// - Parameter numbers: of the other column.
  func values(of numbers: [UInt32]) throws(FormatError) -> [UInt32] {
    var values = try ColumnCodec.lookUp(numbers, in: table)
    for (place, value) in zip(places, exceptions) {
      guard Int(place) < values.count else { throw FormatError("an exception beyond a column's end") }
      values[Int(place)] = value
    }
    return values
  }
}
