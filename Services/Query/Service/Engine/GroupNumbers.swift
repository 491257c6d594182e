import Synchronization

/// The combinations of values of up to three fields, numbered in the order in which any thread of a query meets them.
final class GroupNumbers: Sendable {
  let fields: [ValueNumbers]
  /// Pairs of numbers: of the first two fields, then of such pairs and the third.
  private let levels: [PairNumbers]

  init(_ fields: [ValueNumbers]) {
    precondition(!fields.isEmpty)
    self.fields = fields
    levels = fields.dropFirst().map { _ in PairNumbers() }
  }

  var count: Int { levels.last?.count ?? fields[0].count }

  func check() throws(QueryError) {
    for field in fields { try field.check() }
    for level in levels where level.count > Limits.breakdownValuesMax {
      throw QueryError(
        .resourceExhausted, "group_by: more than \(Limits.breakdownValuesMax) groups")
    }
  }

  /// The values of a group, one per field; nil: missing.
  func values(_ group: Int32) -> [FieldValue?] {
    zip(fields, parts(group)).map { $0.value($1) }
  }

  /// The numbers of a group's values, one per field.
  func parts(_ group: Int32) -> [Int32] {
    var parts: [Int32] = []
    var number = group
    for level in levels.reversed() {
      let pair = level.pair(number)
      parts.append(pair.second)
      number = pair.first
    }
    parts.append(number)
    return parts.reversed()
  }

  func reader() -> GroupReader {
    GroupReader(fields.map(ValueReader.init), pairs: levels.map(PairReader.init))
  }
}

/// Gives the rows of days the numbers of their groups. For one thread.
final class GroupReader {
  private let fields: [ValueReader]
  private let pairs: [PairReader]
  private let isOfContext: Bool

  init(_ fields: [ValueReader], pairs: [PairReader]) {
    self.fields = fields
    self.pairs = pairs
    isOfContext = fields.allSatisfy(\.numbers.source.isOfContext)
  }

  var fieldCodes: Set<UInt32> { fields.reduce([]) { $0.union($1.fieldCodes) } }

  func read(_ rows: [UInt32], _ day: DayColumns) -> [Int32] {
    guard isOfContext, rows.count > day.contextCount else { return combined(rows, day) }
    // Once per context, then a look-up per row.
    let contexts = day.ofContexts
    let perContext = combined(.numbers(below: day.contextCount), contexts)
    return [Int32](unsafeUninitializedCapacity: rows.count) { groups, count in
      rows.withUnsafeBufferPointer { rows in
        day.context.withUnsafeBufferPointer { contexts in
          perContext.withUnsafeBufferPointer { perContext in
            for index in 0..<rows.count {
              groups[index] = perContext[Int(contexts[Int(rows[index])])]
            }
          }
        }
      }
      count = rows.count
    }
  }

  private func combined(_ rows: [UInt32], _ day: DayColumns) -> [Int32] {
    var groups = fields[0].read(rows, day)
    for (field, pair) in zip(fields.dropFirst(), pairs) {
      pair.combine(&groups, with: field.read(rows, day))
    }
    return groups
  }
}

/// Pairs of numbers, numbered.
final class PairNumbers: Sendable {
  private struct State {
    var pairs: [UInt64] = []
    var numbers: [UInt64: Int32] = [:]
  }

  private let state = Mutex(State())

  var count: Int { state.withLock { $0.pairs.count } }

  func number(_ key: UInt64) -> Int32 {
    state.withLock { state in
      if let known = state.numbers[key] { return known }
      let number = Int32(state.pairs.count)
      state.pairs.append(key)
      state.numbers[key] = number
      return number
    }
  }

  func pair(_ number: Int32) -> (first: Int32, second: Int32) {
    let key = state.withLock { $0.pairs[Int(number)] }
    return (
      Int32(truncatingIfNeeded: key >> 32), Int32(truncatingIfNeeded: key & 0xffff_ffff)
    )
  }
}

/// Looks pairs up: a table where both numbers are small, a dictionary where not. For one thread.
final class PairReader {
  private static let side = 1 << 9

  private let numbers: PairNumbers
  private var table = [Int32](repeating: -1, count: side * side)
  private var rest: [UInt64: Int32] = [:]

  init(_ numbers: PairNumbers) { self.numbers = numbers }

  func combine(_ first: inout [Int32], with second: [Int32]) {
    for index in first.indices { first[index] = number(first[index], second[index]) }
  }

  @inline(__always)
  private func number(_ first: Int32, _ second: Int32) -> Int32 {
    let key = UInt64(first) << 32 | UInt64(second)
    guard first < Self.side, second < Self.side else {
      if let known = rest[key] { return known }
      rest[key] = numbers.number(key)
      return numbers.number(key)
    }
    let place = Int(first) * Self.side + Int(second)
    if table[place] < 0 { table[place] = numbers.number(key) }
    return table[place]
  }
}
