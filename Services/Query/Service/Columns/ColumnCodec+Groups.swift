/// Columns of rows that stand in groups, a day's by user, and those that stay the same for some rows.
extension ColumnCodec {
  /// The first number of each group, then what each other one adds to the one before: modulo 2^bits, or signed.
  static func decodeGroups<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, isZigzag: Bool, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let firsts = try decode(T.self, reader.block(), bound.nested)
    var steps = try decode(T.self, reader.block(), bound.nested)
    guard firsts.count == bound.ends.count, firsts.count + steps.count == count,
      areEnds(bound.ends, of: count)
    else { throw FormatError("a column does not fit its groups") }
    if isZigzag {
      sumUp(&steps) { ($0 &>> 1) ^ (0 &- ($0 & 1)) }
    } else {
      sumUp(&steps) { $0 }
    }
    return [T](unsafeUninitializedCapacity: count + groupVector) { target, filled in
      filled = count
      firsts.withUnsafeBufferPointer { firsts in
        steps.withUnsafeBufferPointer { sums in
          bound.ends.withUnsafeBufferPointer { spread(firsts, sums, $0, into: target) }
        }
      }
    }
  }

  private static func areEnds(_ ends: [UInt32], of count: Int) -> Bool {
    guard Int(ends.last ?? 0) == count, ends.first != 0 else { return false }
    return ends.withUnsafeBufferPointer { ends in
      var isAscending = true
      for index in 1..<max(ends.count, 1) {
        isAscending = isAscending && ends[index - 1] < ends[index]
      }
      return isAscending
    }
  }

  /// So many rows of a group are written at a time.
  private static var groupVector: Int { 16 }

  @inline(__always)
  private static func sumUp<T: ColumnNumber>(_ steps: inout [T], _ difference: (T) -> T) {
    steps.withUnsafeMutableBufferPointer { steps in
      var sum: T = 0
      for index in 0..<steps.count {
        sum &+= difference(steps[index])
        steps[index] = sum
      }
    }
  }

  /// What the steps of the groups before have come to is taken off again, for some rows at once: where a group ends cannot be
  /// predicted. What is written behind its end the next group overwrites.
  ///
  /// - Parameters:
  ///   - sums: of all steps up to each.
  ///   - target: with room for `groupVector` more.
  private static func spread<T: ColumnNumber>(
    _ firsts: UnsafeBufferPointer<T>, _ sums: UnsafeBufferPointer<T>,
    _ ends: UnsafeBufferPointer<UInt32>, into target: UnsafeMutableBufferPointer<T>
  ) {
    guard let rows = UnsafeMutableRawPointer(target.baseAddress) else { return }
    let steps = UnsafeRawPointer(sums.baseAddress)
    var row = 0
    // How many steps the groups before have, and their sum.
    var next = 0
    var before: T = 0
    for index in 0..<firsts.count {
      let end = Int(ends[index])
      let first = firsts[index]
      target.initializeElement(at: row, to: first)
      row &+= 1
      let last = next &+ (end &- row)
      let base = first &- before
      while row < end {
        if let steps, next &+ groupVector <= sums.count {
          let some = (steps + next &* MemoryLayout<T>.stride).loadUnaligned(as: SIMD16<T>.self) &+ SIMD16(repeating: base)
          (rows + row &* MemoryLayout<T>.stride).storeBytes(of: some, as: SIMD16<T>.self)
          row &+= groupVector
          next &+= groupVector
        } else {
          target.initializeElement(at: row, to: sums[next] &+ base)
          row &+= 1
          next &+= 1
        }
      }
      row = end
      next = last
      before = last == 0 ? 0 : sums[last &- 1]
    }
  }

  /// Numbers that stay the same for some rows of a group, and for how many: 0 stands for the rest of the group.
  static func decodeGroupedRuns<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let heads = try decode(T.self, reader.block(), bound.nested)
    let lengths = try decode(UInt32.self, reader.block(), bound.nested)
    guard heads.count == lengths.count, areEnds(bound.ends, of: count),
      fits(lengths, into: bound.ends)
    else { throw FormatError("a column's runs do not fit its groups") }
    let ends = bound.ends
    return [T](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      guard let start = target.baseAddress else { return }
      var row = 0
      var group = 0
      for index in 0..<heads.count {
        let length = Int(lengths[index])
        let end = length == 0 ? Int(ends[group]) : row + length
        (start + row).initialize(repeating: heads[index], count: end - row)
        group += length == 0 ? 1 : 0
        row = end
      }
    }
  }

  /// The runs themselves.
  ///
  /// - Parameters:
  ///   - block: not compressed.
  ///   - ends: where the groups end that it was packed by.
  /// - Returns: nil where the column is written in another way.
  static func decodeGroupedRuns(
    _ block: UnsafeRawBufferPointer, most: Int, ends: [UInt32]
  ) throws(FormatError) -> ContextRuns? {
    guard block.first == Tag.groupedRuns else { return nil }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: block[1...]))
    let count = Int(try reader.uint32())
    let heads = try decode(UInt32.self, reader.block(), most: most)
    let lengths = try decode(UInt32.self, reader.block(), most: most)
    guard count <= most, heads.count == lengths.count, areEnds(ends, of: count), fits(lengths, into: ends),
      reader.isAtEnd
    else { throw FormatError("a column's runs do not fit its groups") }
    var row: UInt32 = 0
    var group = 0
    let runEnds = lengths.map { length in
      row = length == 0 ? ends[group] : row + length
      group += length == 0 ? 1 : 0
      return row
    }
    return ContextRuns(ends: runEnds, contexts: heads)
  }

  /// Whether the runs are those of all rows.
  private static func fits(_ lengths: [UInt32], into ends: [UInt32]) -> Bool {
    var row = 0
    var group = 0
    for length in lengths {
      guard group < ends.count, row + Int(length) < Int(ends[group]) else { return false }
      if length == 0 {
        row = Int(ends[group])
        group += 1
      } else {
        row += Int(length)
      }
    }
    return group == ends.count
  }

  /// The numbers that differ from the one before, and a bit for each row that has the next of them.
  static func decodeChanges<T: ColumnNumber>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let heads = try decode(T.self, reader.block(), bound)
    let bits = try reader.take((count + 7) / 8)
    let changes = bits.reduce(0) { $0 &+ $1.nonzeroBitCount }
    guard changes == heads.count, count == 0 || bits[0] & 1 == 1,
      count % 8 == 0 || bits[bits.count - 1] >> UInt8(count % 8) == 0
    else { throw FormatError("a column's changes do not fit it") }
    return [T](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      heads.withUnsafeBufferPointer { heads in
        // Without a branch: which row changes cannot be predicted.
        var next = -1
        for row in 0..<count {
          next &+= Int(bits[row &>> 3] &>> UInt8(truncatingIfNeeded: row & 7) & 1)
          target.initializeElement(at: row, to: heads[next])
        }
      }
    }
  }
}
