/// Columns of rows that stand in groups, a day's by user, and those that stay the same for some rows.
extension ColumnCodec {
  /// The first number of each group, then what each other one adds to the one before: modulo 2^bits, or signed.
  static func decodeGroups<T: FixedWidthInteger & BitwiseCopyable>(
    _: T.Type, _ reader: inout ByteReader, _ count: Int, isZigzag: Bool, _ bound: Bound
  ) throws(FormatError) -> [T] {
    let firsts = try decode(T.self, reader.block(), bound.nested)
    let steps = try decode(T.self, reader.block(), bound.nested)
    guard firsts.count == bound.ends.count, firsts.count + steps.count == count,
      areEnds(bound.ends, of: count)
    else { throw FormatError("a column does not fit its groups") }
    return [T](unsafeUninitializedCapacity: count) { target, filled in
      filled = count
      firsts.withUnsafeBufferPointer { firsts in
        steps.withUnsafeBufferPointer { steps in
          bound.ends.withUnsafeBufferPointer { ends in
            if isZigzag {
              addUp(firsts, steps, ends, into: target) { $0 & 1 == 0 ? $0 &>> 1 : ~($0 &>> 1) }
            } else {
              addUp(firsts, steps, ends, into: target) { $0 }
            }
          }
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

  @inline(__always)
  private static func addUp<T: FixedWidthInteger>(
    _ firsts: UnsafeBufferPointer<T>, _ steps: UnsafeBufferPointer<T>,
    _ ends: UnsafeBufferPointer<UInt32>, into target: UnsafeMutableBufferPointer<T>,
    _ difference: (T) -> T
  ) {
    var row = 0
    // Before the group `index` so many rows were firsts.
    for index in 0..<firsts.count {
      let end = Int(ends[index])
      var sum = firsts[index]
      target.initializeElement(at: row, to: sum)
      row &+= 1
      while row < end {
        sum &+= difference(steps[row &- index &- 1])
        target.initializeElement(at: row, to: sum)
        row &+= 1
      }
    }
  }

  /// Numbers that stay the same for some rows of a group, and for how many: 0 stands for the rest of the group.
  static func decodeGroupedRuns<T: FixedWidthInteger & BitwiseCopyable>(
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
  static func decodeChanges<T: FixedWidthInteger & BitwiseCopyable>(
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
