/// Which rows have a field, told by their events: mostly all rows of some events have it, or a good part of them.
struct FieldRows {
  /// The events, ascending.
  private let events: [UInt32]
  /// A bit for each row of these events; empty: all of them have the field.
  private let bits: [UInt8]

  // MARK: Writing

  /// Bytes of the column `fieldRows`.
  ///
  /// - Parameter counts: rows by event, of the day.
  static func encode(_ rows: [UInt32], of day: DayColumns, counts: [Int]) -> [UInt8] {
    guard let byEvents = FieldRows(rows, of: day, counts) else {
      return ColumnPacker.packAscending(rows)
    }
    var writer = ByteWriter()
    writer.append(ColumnCodec.Tag.ofEvents)
    writer.appendBlock(ColumnPacker.pack(byEvents.events))
    byEvents.bits.withUnsafeBytes { writer.append($0) }
    return writer.bytes
  }

  /// How many rows each event has, by its code.
  static func counts(_ events: [UInt32]) -> [Int] {
    var counts = [Int](repeating: 0, count: Int(events.highest) + 1)
    for event in events { counts[Int(event)] += 1 }
    return counts
  }

  /// - Returns: nil where too few of the rows of its events have the field.
  private init?(_ rows: [UInt32], of day: DayColumns, _ counts: [Int]) {
    var isWanted = [Bool](repeating: false, count: counts.count)
    for row in rows { isWanted[Int(day.event[Int(row)])] = true }
    let wanted = isWanted.indices.filter { isWanted[$0] }
    events = wanted.map { UInt32($0) }
    let candidates = wanted.reduce(0) { $0 + counts[$1] }
    if candidates == rows.count {
      bits = []
      return
    }
    guard candidates / 8 < rows.count * 3 / 4 else { return nil }
    var bits = [UInt8](repeating: 0, count: (candidates + 7) / 8)
    var candidate = 0
    var next = 0
    for row in 0..<day.count where isWanted[Int(day.event[row])] {
      if next < rows.count, rows[next] == UInt32(row) {
        bits[candidate / 8] |= 1 << UInt8(candidate % 8)
        next += 1
      }
      candidate += 1
    }
    self.bits = bits
  }

  // MARK: Reading

  /// - Returns: nil where the rows are listed.
  init?(_ column: UnsafeRawBufferPointer) throws(FormatError) {
    guard column.first == ColumnCodec.Tag.ofEvents else { return nil }
    var reader = ByteReader(UnsafeRawBufferPointer(rebasing: column[1...]))
    events = try ColumnCodec.decode(UInt32.self, reader.block())
    bits = Array(try reader.take(reader.remaining))
  }

  /// The rows that have the field, ascending.
  ///
  /// - Parameters:
  ///   - events: of all rows.
  ///   - count: how many have the field.
  /// - Returns: nil where there are not so many.
  func rows(among events: [UInt32], count: Int) -> [UInt32]? {
    guard count <= events.count else { return nil }
    var isWanted = [UInt8](repeating: 0, count: Int(events.highest) + 1)
    for event in self.events where Int(event) < isWanted.count { isWanted[Int(event)] = 1 }
    let rows = bits.isEmpty ? all(isWanted, events, count) : some(isWanted, events, count)
    return rows.count == count ? rows : nil
  }

  private func all(_ isWanted: [UInt8], _ events: [UInt32], _ count: Int) -> [UInt32] {
    [UInt32](unsafeUninitializedCapacity: count + 1) { target, filled in
      isWanted.withUnsafeBufferPointer { isWanted in
        events.withUnsafeBufferPointer { events in
          var next = 0
          // Which event comes next cannot be predicted: every row is written, and kept where it is wanted.
          for row in 0..<events.count {
            target[min(next, count)] = UInt32(truncatingIfNeeded: row)
            next &+= Int(isWanted[Int(events[row])])
          }
          // More than there is room for: not so many.
          filled = next == count ? count : 0
        }
      }
    }
  }

  private func some(_ isWanted: [UInt8], _ events: [UInt32], _ count: Int) -> [UInt32] {
    // One more, for where the candidates end.
    let bits = bits + [0]
    let last = bits.count - 1
    return [UInt32](unsafeUninitializedCapacity: count + 1) { target, filled in
      var next = 0
      var candidate = 0
      for row in 0..<events.count {
        let wanted = Int(isWanted[Int(events[row])])
        let bit = bits[min(candidate &>> 3, last)] &>> UInt8(truncatingIfNeeded: candidate & 7)
        target.initializeElement(at: next, to: UInt32(truncatingIfNeeded: row))
        next &+= wanted & Int(bit & 1)
        candidate &+= wanted
        if next > count { break }
      }
      filled = next
    }
  }
}
