/// Writes a column in the fewest bytes of the ways that `ColumnCodec` reads: docs/formats/query.md, "Column".
///
/// All of them are read by flat loops. Zstandard comes on top where a day has come to rest.
package enum ColumnPacker {
  private typealias Tag = ColumnCodec.Tag

  /// Numbers in any order.
  package static func pack<T: FixedWidthInteger & BitwiseCopyable>(_ values: [T]) -> [UInt8] {
    values.withUnsafeBufferPointer { source in
      withNumbers(source.count, { UInt64(truncatingIfNeeded: source[$0]) }, pack)
    }
  }

  /// Numbers of which each is a little larger than the one before as a rule: times, users. Differences are modulo 2^32.
  package static func packAscending(_ values: [UInt32]) -> [UInt8] {
    values.withUnsafeBufferPointer { source in
      withNumbers(
        source.count, { UInt64($0 == 0 ? source[0] : source[$0] &- source[$0 - 1]) },
        { wrap(Tag.differences, $0.count, [pack($0)]) })
    }
  }

  /// Numbers that mostly go up or down by the same small step.
  package static func packStepping(_ values: [UInt64]) -> [UInt8] {
    values.withUnsafeBufferPointer { source in
      withNumbers(
        source.count, { zigzag($0 == 0 ? source[0] : source[$0] &- source[$0 - 1]) },
        { wrap(Tag.zigzagDifferences, $0.count, [pack($0)]) })
    }
  }

  /// Numbers that stay the same for some rows, then mostly go up by one.
  ///
  /// - Parameter ends: of the rows' groups. Most runs last to the end of theirs.
  package static func packRuns(_ values: [UInt32], ends: [UInt32]) -> [UInt8] {
    precondition(Int(ends.last ?? 0) == values.count, "groups hold all rows")
    var heads: [UInt32] = []
    var lengths: [UInt64] = []
    var begin = 0
    for end in ends {
      var row = begin
      while row < Int(end) {
        let value = values[row]
        let start = row
        while row < Int(end), values[row] == value { row += 1 }
        heads.append(value)
        lengths.append(row == Int(end) ? 0 : UInt64(row - start))
      }
      begin = Int(end)
    }
    // Differences modulo 2^32, so that none takes more bytes than a number of the column.
    let steps = heads.indices.map { index -> UInt64 in
      let step = Int32(bitPattern: index == 0 ? heads[0] : heads[index] &- heads[index - 1])
      return UInt64(UInt32(bitPattern: step << 1 ^ step >> 31))
    }
    return wrap(
      Tag.groupedRuns, values.count,
      [
        wrap(Tag.zigzagDifferences, heads.count, [packNumbers(steps)]), packNumbers(lengths),
      ])
  }

  /// The same within groups: of each the first number, then what is added. A day's times, by user.
  ///
  /// - Parameter ends: behind the last row of each group, ascending; no group is empty.
  package static func packAscending(_ values: [UInt32], ends: [UInt32]) -> [UInt8] {
    packGroups(Tag.groupedDifferences, values, ends) { UInt64($0 &- $1) }
  }

  /// Numbers that mostly go up or down by the same small step within their group.
  package static func packStepping(_ values: [UInt64], ends: [UInt32]) -> [UInt8] {
    packGroups(Tag.groupedZigzagDifferences, values, ends) { zigzag($0 &- $1) }
  }

  private static func packGroups<T: FixedWidthInteger>(
    _ tag: UInt8, _ values: [T], _ ends: [UInt32], _ difference: (T, T) -> UInt64
  ) -> [UInt8] {
    precondition(Int(ends.last ?? 0) == values.count, "groups hold all rows")
    var firsts: [UInt64] = []
    var steps: [UInt64] = []
    firsts.reserveCapacity(ends.count)
    steps.reserveCapacity(values.count - ends.count)
    var begin = 0
    for end in ends {
      firsts.append(UInt64(truncatingIfNeeded: values[begin]))
      for row in begin + 1..<Int(end) { steps.append(difference(values[row], values[row - 1])) }
      begin = Int(end)
    }
    return wrap(tag, values.count, [packNumbers(firsts), packNumbers(steps)])
  }

  private static func packNumbers(_ values: [UInt64]) -> [UInt8] {
    values.withUnsafeBufferPointer { pack($0) }
  }

  /// Numbers that often stay the same from one row to the next, though not for long: pages.
  package static func packChanging(_ values: [UInt32]) -> [UInt8] {
    var heads: [UInt64] = []
    var bits = [UInt8](repeating: 0, count: (values.count + 7) / 8)
    for (row, value) in values.enumerated() where row == 0 || value != values[row - 1] {
      heads.append(UInt64(value))
      bits[row / 8] |= 1 << UInt8(row % 8)
    }
    var changing = wrap(Tag.changes, values.count, [packNumbers(heads)])
    changing += bits
    let usual = pack(values)
    return changing.count < usual.count * 3 / 4 ? changing : usual
  }

  /// Numbers of which there are few different ones, whatever they are: the way in which others may follow from them.
  static func packDictionary(_ numbers: [UInt32], of table: [UInt32]) -> [UInt8] {
    wrap(Tag.dictionary, numbers.count, [pack(table), pack(numbers)])
  }

  /// The same column smaller, by Zstandard; as it is where that gains nothing.
  package static func compressed(_ column: [UInt8]) -> [UInt8] {
    // Those that follow from others are small.
    if [Tag.zstd, Tag.ofParent, Tag.ofUsers].contains(column.first) { return column }
    guard let frame = Zstd.compressSmallest(column) else { return column }
    var writer = ByteWriter(capacity: frame.count + 5)
    writer.append(Tag.zstd)
    writer.append(UInt32(column.count))
    frame.withUnsafeBytes { writer.append($0) }
    return writer.bytes
  }

  private static func zigzag(_ difference: UInt64) -> UInt64 {
    let signed = Int64(bitPattern: difference)
    return UInt64(bitPattern: (signed << 1) ^ (signed >> 63))
  }

  private static func wrap(_ tag: UInt8, _ count: Int, _ blocks: [[UInt8]]) -> [UInt8] {
    var writer = ByteWriter(capacity: 5 + blocks.reduce(0) { $0 + 4 + $1.count })
    writer.append(tag)
    writer.append(UInt32(count))
    for block in blocks { writer.appendBlock(block) }
    return writer.bytes
  }

  private static func withNumbers(
    _ count: Int, _ number: (Int) -> UInt64, _ body: (UnsafeBufferPointer<UInt64>) -> [UInt8]
  ) -> [UInt8] {
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: max(count, 1)) { buffer in
      for index in 0..<count { buffer.initializeElement(at: index, to: number(index)) }
      return body(UnsafeBufferPointer(rebasing: buffer[..<count]))
    }
  }

  // MARK: The choice

  /// What the numbers are like.
  private struct Shape {
    var low = UInt64.max
    var high: UInt64 = 0
    var runs = 0
    /// The number that more than half of all are, if there is one.
    var common: UInt64 = 0
    var commonCount = 0
    /// By how many bytes a number less the smallest takes.
    var byWidth = [Int](repeating: 0, count: 9)

    init(_ values: UnsafeBufferPointer<UInt64>) {
      guard let first = values.first else { return }
      var last = first
      var votes = 0
      runs = 1
      for value in values {
        low = min(low, value)
        high = max(high, value)
        runs &+= value == last ? 0 : 1
        last = value
        // Without branches: of numbers in any order nobody foresees them.
        let taken: UInt64 = votes == 0 ? .max : 0
        common ^= (common ^ value) & taken
        votes &+= value == common ? 1 : -1
      }
      let low = low
      let common = common
      var commonCount = 0
      // By turns into four places: mostly neighbours take the same number of bytes, and would wait for each other.
      var counts = [Int](repeating: 0, count: 64)
      counts.withUnsafeMutableBufferPointer { counts in
        for index in 0..<values.count {
          let value = values[index]
          counts[Shape.bytes(value &- low) | (index & 3) &<< 4] &+= 1
          commonCount &+= value == common ? 1 : 0
        }
      }
      self.commonCount = commonCount
      for width in byWidth.indices {
        byWidth[width] = counts[width] + counts[width + 16] + counts[width + 32] + counts[width + 48]
      }
    }

    @inline(__always)
    static func bytes(_ value: UInt64) -> Int { (71 &- value.leadingZeroBitCount) &>> 3 }

    var width: Int { Shape.bytes(high &- (low == .max ? high : low)) }
  }

  private enum Way {
    case planes
    case patched(width: Int, low: UInt64)
    case runs
    case dictionary([UInt64])
  }

  private static func pack(_ values: UnsafeBufferPointer<UInt64>) -> [UInt8] {
    let shape = Shape(values)
    switch way(values, shape) {
    case .planes: return planes(values, shape.width, shape.low)
    case .patched(let width, let low): return patched(values, width: width, low: low)
    case .runs: return runs(values)
    case .dictionary(let table): return dictionary(values, table)
    }
  }

  private static func way(_ values: UnsafeBufferPointer<UInt64>, _ shape: Shape) -> Way {
    let whole = shape.width
    if values.count < 16 || whole == 0 { return .planes }
    // Planes are read fastest: another way must be a good deal smaller.
    var cost = values.count * whole * 3 / 4
    var best = Way.planes
    func consider(_ other: Int, _ way: Way) {
      if other + 32 < cost { (cost, best) = (other + 32, way) }
    }
    // An exception takes its number and a byte for its place.
    consider(
      (values.count - shape.commonCount) * (whole + 1), .patched(width: 0, low: shape.common))
    var large = values.count - shape.byWidth[0]
    for width in 1..<whole {
      large -= shape.byWidth[width]
      consider(values.count * width + large * (whole + 1), .patched(width: width, low: shape.low))
    }
    consider(shape.runs * (whole + 1), .runs)
    if cost > values.count, let table = distinct(values, shape) {
      let width = Shape.bytes(UInt64(table.count - 1))
      consider(values.count * width + table.count * whole, .dictionary(table))
    }
    return best
  }

  // MARK: The ways

  private static func planes(
    _ values: UnsafeBufferPointer<UInt64>, _ width: Int, _ low: UInt64
  ) -> [UInt8] {
    var writer = ByteWriter(capacity: values.count * width + 14)
    writer.append(Tag.planes)
    writer.append(UInt32(values.count))
    appendPlanes(values, width, low, atMost: .max, to: &writer)
    return writer.bytes
  }

  /// - Parameter atMost: what is larger, less the smallest, is written as 0: it stands elsewhere.
  private static func appendPlanes(
    _ values: UnsafeBufferPointer<UInt64>, _ width: Int, _ low: UInt64, atMost most: UInt64,
    to writer: inout ByteWriter
  ) {
    writer.append(UInt8(width))
    writer.append(values.isEmpty ? 0 : low)
    writer.append(count: values.count * width) { target in
      guard let start = target.baseAddress else { return }
      for plane in 0..<width {
        let bytes = (start + plane * values.count).assumingMemoryBound(to: UInt8.self)
        let shift = UInt64(plane * 8)
        for index in 0..<values.count {
          let rest = values[index] &- low
          bytes[index] = UInt8(truncatingIfNeeded: (rest > most ? 0 : rest) &>> shift)
        }
      }
    }
  }

  private static func patched(
    _ values: UnsafeBufferPointer<UInt64>, width: Int, low: UInt64
  ) -> [UInt8] {
    let most: UInt64 = (1 << UInt64(width * 8)) - 1
    var gaps: [UInt64] = []
    var patches: [UInt64] = []
    var last = 0
    for index in 0..<values.count {
      // One now and then that need not be: no gap takes more than a byte.
      guard values[index] &- low > most || index - last == 255 else { continue }
      gaps.append(UInt64(index - last))
      patches.append(values[index])
      last = index
    }
    var writer = ByteWriter(capacity: values.count * width + patches.count * 9 + 64)
    writer.append(Tag.patched)
    writer.append(UInt32(values.count))
    // Not by exceptions again: columns would nest without end.
    writer.appendBlock(
      wrap(Tag.differences, gaps.count, [gaps.withUnsafeBufferPointer { planesOnly($0) }]))
    writer.appendBlock(patches.withUnsafeBufferPointer { planesOnly($0) })
    appendPlanes(values, width, low, atMost: most, to: &writer)
    return writer.bytes
  }

  private static func planesOnly(_ values: UnsafeBufferPointer<UInt64>) -> [UInt8] {
    let shape = Shape(values)
    return planes(values, shape.width, shape.low)
  }

  private static func runs(_ values: UnsafeBufferPointer<UInt64>) -> [UInt8] {
    var heads: [UInt64] = []
    var lengths: [UInt64] = []
    for (index, value) in values.enumerated() {
      if index > 0, value == values[index - 1] {
        lengths[lengths.count - 1] += 1
      } else {
        heads.append(value)
        lengths.append(1)
      }
    }
    return wrap(
      Tag.runs, values.count,
      [
        heads.withUnsafeBufferPointer { planesOnly($0) },
        lengths.withUnsafeBufferPointer { planesOnly($0) },
      ])
  }

  /// Of so many numbers from the smallest one on, whether each occurs is kept in a bit.
  private static let countedSpanMax: UInt64 = 1 << 20

  /// The different numbers, ascending; nil: too many to be worth it.
  private static func distinct(
    _ values: UnsafeBufferPointer<UInt64>, _ shape: Shape
  ) -> [UInt64]? {
    let most = min(values.count / 4, 1 << 16)
    if shape.high - shape.low < countedSpanMax { return narrowDistinct(values, shape, most) }
    var seen: Set<UInt64> = []
    var last: UInt64?
    for value in values where value != last {
      last = value
      seen.insert(value)
      if seen.count > most { return nil }
    }
    return seen.sorted()
  }

  private static func narrowDistinct(
    _ values: UnsafeBufferPointer<UInt64>, _ shape: Shape, _ most: Int
  ) -> [UInt64]? {
    var seen = [UInt64](repeating: 0, count: Int(shape.high - shape.low) / 64 + 1)
    var count = 0
    let isFew = seen.withUnsafeMutableBufferPointer { seen in
      for value in values {
        let place = value &- shape.low
        let word = Int(truncatingIfNeeded: place &>> 6)
        let bit: UInt64 = 1 &<< (place & 63)
        if seen[word] & bit != 0 { continue }
        seen[word] |= bit
        count += 1
        if count > most { return false }
      }
      return true
    }
    guard isFew else { return nil }
    var table: [UInt64] = []
    table.reserveCapacity(count)
    for (word, bits) in seen.enumerated() {
      var rest = bits
      while rest != 0 {
        table.append(shape.low + UInt64(word * 64 + rest.trailingZeroBitCount))
        rest &= rest - 1
      }
    }
    return table
  }

  private static func dictionary(
    _ values: UnsafeBufferPointer<UInt64>, _ table: [UInt64]
  ) -> [UInt8] {
    let codes = codes(values, table)
    return wrap(
      Tag.dictionary, values.count,
      [
        table.withUnsafeBufferPointer { planesOnly($0) },
        codes.withUnsafeBufferPointer { planesOnly($0) },
      ])
  }

  /// Of each number, where it stands in the table.
  private static func codes(
    _ values: UnsafeBufferPointer<UInt64>, _ table: [UInt64]
  ) -> [UInt64] {
    guard let low = table.first, let high = table.last else { return [] }
    guard high - low < countedSpanMax else {
      let numbers = Dictionary(uniqueKeysWithValues: table.enumerated().map { ($1, UInt64($0)) })
      return values.map { numbers[$0] ?? 0 }
    }
    var places = [UInt32](repeating: 0, count: Int(high - low) + 1)
    for (number, value) in table.enumerated() { places[Int(value - low)] = UInt32(number) }
    return places.withUnsafeBufferPointer { places in
      values.map { UInt64(places[Int(truncatingIfNeeded: $0 &- low)]) }
    }
  }
}
