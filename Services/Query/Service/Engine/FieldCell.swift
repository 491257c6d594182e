import Events

/// What a scan keeps of a field's values besides their sum.
struct FieldNeeds: OptionSet, Sendable {
  let rawValue: UInt8
  static let quantiles = FieldNeeds(rawValue: 1)
  static let distinct = FieldNeeds(rawValue: 2)
}

/// The values of one field in one cell: a period, a group. Integers are added up exactly.
struct FieldCell: Sendable, Equatable {
  /// Events with a number.
  var count: UInt64 = 0
  var integers: Int128 = 0
  var doubles: Double = 0
  var min = Double.infinity
  var max = -Double.infinity
  var sample = NumberSample()
  var distinct: Set<BreakdownKey> = []

  var sum: Double {
    // The general conversion takes far longer.
    let word = Int64(truncatingIfNeeded: integers)
    return (Int128(word) == integers ? Double(word) : Double(integers)) + doubles
  }

  var byteCount: Int { sample.byteCount + distinct.count * 32 }

  mutating func add(_ kind: BatchField.Kind, _ bits: UInt64, _ needs: FieldNeeds) {
    if needs.contains(.distinct) { distinct.insert(BreakdownKey(of: kind, bits: bits)) }
    switch kind {
    case .integer:
      let value = Int64(bitPattern: bits)
      integers += Int128(value)
      add(Double(value), needs)
    case .double:
      let value = Double(bitPattern: bits)
      doubles += value
      add(value, needs)
    case .text, .boolean, .missing: break
    }
  }

  fileprivate mutating func add(_ totals: IntegerTotals) {
    if totals.count == 0 { return }
    count += totals.count
    integers += totals.sum
    min = Swift.min(min, Double(totals.min))
    max = Swift.max(max, Double(totals.max))
  }

  private mutating func add(_ value: Double, _ needs: FieldNeeds) {
    count += 1
    min = Swift.min(min, value)
    max = Swift.max(max, value)
    if needs.contains(.quantiles) { sample.add(value) }
  }

  mutating func merge(_ other: FieldCell) {
    count += other.count
    integers += other.integers
    doubles += other.doubles
    min = Swift.min(min, other.min)
    max = Swift.max(max, other.max)
    sample.merge(other.sample)
    if distinct.isEmpty { distinct = other.distinct } else { distinct.formUnion(other.distinct) }
  }
}

/// Integers added up exactly in few instructions. Of 2^32 of them at most.
private struct IntegerTotals {
  var count: UInt64 = 0
  /// Of the lower halves of all, and of the upper ones.
  private var low: UInt64 = 0
  private var high: Int64 = 0
  var min = Int64.max
  var max = Int64.min

  var sum: Int128 { Int128(high) << 32 + Int128(low) }

  @inline(__always)
  mutating func add(_ value: Int64) {
    count &+= 1
    low &+= UInt64(UInt32(truncatingIfNeeded: value))
    high &+= value &>> 32
    min = Swift.min(min, value)
    max = Swift.max(max, value)
  }
}

/// Gives the values of a field, wherever it stands: of an event, of the context, or made of it.
struct FieldValues: Sendable {
  /// Gives texts that no dictionary holds a number.
  private let numbers: ValueNumbers
  var source: FieldSource { numbers.source }

  init(_ field: String, asked: String, in snapshot: AppSnapshot) throws(QueryError) {
    numbers = try ValueNumbers(field, asked: asked, in: snapshot)
  }

  /// Calls `body` with the position of each of these rows, ascending, whose value is there, and the value.
  func forEach(
    _ rows: [UInt32], _ day: DayColumns, _ body: (Int, BatchField.Kind, UInt64) -> Void
  ) {
    switch source {
    case .fields(let codes):
      for (code, kind) in codes {
        day.fields[code]?.forEach(in: rows) { index, bits in body(index, kind, bits) }
      }
    case .event: codes(rows, day, body) { Int(day.event[$0]) }
    case .page: codes(rows, day, body) { Int(day.page[$0]) }
    case .releaseChannel:
      codes(rows, day, body) { Int(RowFlags(rawValue: day.flags[$0]).traffic.channel) }
    case .user: users(rows, day, body)
    case .context(let position, let type):
      let column = day.contextColumn(position)
      for (index, row) in rows.enumerated() {
        let word = UInt64(column[Int(day.context[Int(row)])])
        if word != 0 { body(index, type == .text ? .text : .integer, word) }
      }
    case .source(let column):
      let perContext = column.values(day)
      for (index, row) in rows.enumerated() {
        switch perContext[Int(day.context[Int(row)])] {
        case .integer(let value)?: body(index, .integer, UInt64(bitPattern: value))
        case .text?:
          let value = perContext[Int(day.context[Int(row)])]
          body(index, .text, UInt64(numbers.number(value)))
        case nil, .double?, .boolean?: break
        }
      }
    }
  }

  /// Adds the values of rows up in their cells.
  ///
  /// - Parameter places: the cell of each row; below 0: none.
  func addUp(
    _ rows: [UInt32], _ places: [Int32], _ day: DayColumns, _ needs: FieldNeeds, into cells: inout [FieldCell]
  ) {
    cells.withUnsafeMutableBufferPointer { cells in
      if case .fields(let codes) = source, needs.isEmpty {
        for (code, kind) in codes {
          guard let column = day.fields[code] else { continue }
          if kind == .integer {
            Self.addUp(column, rows, places, into: cells)
          } else {
            column.forEach(in: rows) { index, bits in
              let place = Int(places[index])
              if place >= 0 { cells[place].add(kind, bits, needs) }
            }
          }
        }
        return
      }
      forEach(rows, day) { index, kind, bits in
        let place = Int(places[index])
        if place >= 0 { cells[place].add(kind, bits, needs) }
      }
    }
  }

  private static func addUp(
    _ integers: FieldColumn, _ rows: [UInt32], _ places: [Int32],
    into cells: UnsafeMutableBufferPointer<FieldCell>
  ) {
    var totals = [IntegerTotals](repeating: IntegerTotals(), count: cells.count)
    totals.withUnsafeMutableBufferPointer { totals in
      places.withUnsafeBufferPointer { places in
        integers.forEach(in: rows) { index, bits in
          let place = Int(places[index])
          if place >= 0 { totals[place].add(Int64(bitPattern: bits)) }
        }
      }
    }
    for (place, one) in totals.enumerated() { cells[place].add(one) }
  }

  private func codes(
    _ rows: [UInt32], _ day: DayColumns, _ body: (Int, BatchField.Kind, UInt64) -> Void,
    _ code: (Int) -> Int
  ) {
    for (index, row) in rows.enumerated() {
      let code = code(Int(row))
      if code != 0 { body(index, .text, UInt64(code)) }
    }
  }

  private func users(
    _ rows: [UInt32], _ day: DayColumns, _ body: (Int, BatchField.Kind, UInt64) -> Void
  ) {
    var position = 0
    for (index, row) in rows.enumerated() {
      while day.userEnds[position] <= row { position += 1 }
      body(index, .text, UInt64(day.users[position]))
    }
  }
}
