/// Puts unsealed rows and a sealed day together, in the order of SEMANTICS 1: user, event time, sequence number, log
/// offset. Sealed rows come before unsealed ones where all else is equal, for they were received before them.
struct DayMerge {
  /// Rows of one buffer that belong to the day, in the order of the log.
  struct Part {
    let rows: RowBuffer
    let selected: RowSelection
  }

  fileprivate struct Key {
    /// User in the upper half, ms since the day's begin in the lower one.
    let userTime: UInt64
    let sequence: UInt64
    let part: UInt32
    let row: UInt32
  }

  private let sealed: DayColumns
  private let parts: [Part]
  private let wantsFields: (UInt32) -> Bool

  /// - Parameters:
  ///   - sealed: with all columns, and its sequence numbers, unless all are 0.
  ///   - wantsFields: which fields of the events the merged day will have.
  init(sealed: DayColumns, parts: [Part], wantsFields: @escaping (UInt32) -> Bool = { _ in true }) {
    self.sealed = sealed
    self.parts = parts.filter { $0.selected.count > 0 }
    self.wantsFields = wantsFields
  }

  /// Cost: sorts the unsealed rows; each column of the others is copied in one pass.
  func merged() -> DayColumns {
    guard !parts.isEmpty else { return sealed }
    let keys = sortedKeys()
    let total = sealed.count + keys.count
    precondition(total <= Limits.rowsPerSegmentMax, "a day of more than 2^31 events")
    var output = DayColumns(day: sealed.day, beginMilliseconds: sealed.beginMilliseconds)
    let order = order(keys, total, users: &output.users, ends: &output.userEnds)
    fillRows(&output, keys, order)
    output.fields = fields(keys, order)
    return output
  }

  private func sortedKeys() -> [Key] {
    var keys: [Key] = []
    keys.reserveCapacity(parts.reduce(0) { $0 + $1.selected.count })
    for (number, part) in parts.enumerated() {
      for row in part.selected {
        let index = Int(row)
        let time = part.rows.time[index] - sealed.beginMilliseconds
        precondition(time >= 0 && time < 1 << 32, "an event outside its day")
        let userTime = UInt64(part.rows.user[index]) << 32 | UInt64(time)
        keys.append(
          Key(
            userTime: userTime, sequence: part.rows.sequence[index], part: UInt32(number),
            row: row))
      }
    }
    keys.sortByUser()
    keys.sortWithinUsers()
    return keys
  }

  /// Where each merged row comes from: a row of the sealed day, or `sealed.count` and the number of a key.
  private func order(
    _ keys: [Key], _ total: Int, users: inout [UInt32], ends: inout [UInt32]
  ) -> [UInt32] {
    let base = UInt32(sealed.count)
    let hasSequence = !sealed.sequence.isEmpty
    users.reserveCapacity(sealed.users.count + 16)
    ends.reserveCapacity(sealed.users.count + 16)
    return [UInt32](unsafeUninitializedCapacity: total) { target, filled in
      var out = 0
      var next = 0
      var position = 0
      while position < sealed.users.count || next < keys.count {
        let known = position < sealed.users.count ? sealed.users[position] : .max
        let added = next < keys.count ? keys[next].user : .max
        let user = min(known, added)
        if user == known {
          for row in sealed.rows(ofUserAt: position) {
            let userTime = UInt64(user) << 32 | UInt64(sealed.time[row])
            let sequence = hasSequence ? sealed.sequence[row] : 0
            while next < keys.count, keys[next].precedes(userTime, sequence) {
              target.initializeElement(at: out, to: base + UInt32(next))
              out += 1
              next += 1
            }
            target.initializeElement(at: out, to: UInt32(row))
            out += 1
          }
          position += 1
        }
        while next < keys.count, keys[next].user == user {
          target.initializeElement(at: out, to: base + UInt32(next))
          out += 1
          next += 1
        }
        users.append(user)
        ends.append(UInt32(out))
      }
      precondition(out == total, "a merge loses no row")
      filled = out
    }
  }

  private func fillRows(_ output: inout DayColumns, _ keys: [Key], _ order: [UInt32]) {
    func gather<T>(_ old: [T], _ new: (Key) -> T) -> [T] {
      Self.gather(old, keys.map(new), order)
    }
    func part(_ key: Key) -> RowBuffer { parts[Int(key.part)].rows }
    output.time = gather(sealed.time) { UInt32(truncatingIfNeeded: $0.userTime) }
    output.event = gather(sealed.event) { part($0).event[Int($0.row)] }
    output.page = gather(sealed.page) { part($0).page[Int($0.row)] }
    output.flags = gather(sealed.flags) { part($0).flags[Int($0.row)] }
    if !sealed.sequence.isEmpty || keys.contains(where: { $0.sequence != 0 }) {
      let old = sealed.sequence.isEmpty ? [UInt64](repeating: 0, count: sealed.count) : sealed.sequence
      output.sequence = gather(old) { $0.sequence }
    }
    output.contexts = sealed.contexts
    let numbers = addContexts(to: &output.contexts)
    output.context = gather(sealed.context) {
      numbers[Int($0.part)][Int(part($0).context[Int($0.row)])]
    }
  }

  private static func gather<T>(_ old: [T], _ new: [T], _ order: [UInt32]) -> [T] {
    if old.isEmpty {
      precondition(new.count == order.count, "a column that was not read")
      return new
    }
    return [T](unsafeUninitializedCapacity: order.count) { target, filled in
      filled = order.count
      old.withUnsafeBufferPointer { old in
        new.withUnsafeBufferPointer { new in
          for (out, place) in order.enumerated() {
            let index = Int(place)
            let value = index < old.count ? old[index] : new[index - old.count]
            target.initializeElement(at: out, to: value)
          }
        }
      }
    }
  }

  /// Adds the contexts that rows of the parts have. Returns their new numbers, by part and old number.
  private func addContexts(to table: inout ContextTable) -> [[UInt32]] {
    var next = UInt32(table.count)
    var added: [ContextTable.Added] = []
    let numbers = parts.map { part in
      var numbers = [UInt32](repeating: .max, count: part.rows.contexts.count)
      var used: [UInt32] = []
      for row in part.selected {
        let context = part.rows.context[Int(row)]
        guard numbers[Int(context)] == .max else { continue }
        numbers[Int(context)] = next
        next += 1
        used.append(context)
      }
      added.append(ContextTable.Added(words: part.rows.contexts.words, numbers: used))
      return numbers
    }
    table.append(added)
    return numbers
  }

  // MARK: Fields

  private func fields(_ keys: [Key], _ order: [UInt32]) -> [UInt32: FieldColumn] {
    var places = [UInt32](repeating: 0, count: order.count)
    for (out, place) in order.enumerated() { places[Int(place)] = UInt32(out) }
    let added = addedFields(keys, places)
    var columns: [UInt32: FieldColumn] = [:]
    for field in Set(sealed.fields.keys).union(added.keys) where wantsFields(field) {
      columns[field] = Self.merged(sealed.fields[field], added[field] ?? FieldColumn(), places)
    }
    return columns
  }

  /// The fields of the new rows, each in the order of the merged rows.
  private func addedFields(_ keys: [Key], _ places: [UInt32]) -> [UInt32: FieldColumn] {
    let ends = parts.map(\.rows.fieldEnds)
    let ids = parts.map(\.rows.fieldID)
    let values = parts.map(\.rows.fieldValue)
    var numbers: [UInt32: Int] = [:]
    var columns: [FieldColumn] = []
    for (number, key) in keys.enumerated() {
      let (part, row) = (Int(key.part), Int(key.row))
      if ends[part].isEmpty { continue }
      for index in (row == 0 ? 0 : Int(ends[part][row - 1]))..<Int(ends[part][row]) {
        let field = ids[part][index]
        let column = numbers[field] ?? columns.count
        if column == columns.count {
          numbers[field] = column
          columns.append(FieldColumn())
        }
        guard wantsFields(field) else { continue }
        columns[column].append(places[sealed.count + number], values[part][index])
      }
    }
    return numbers.mapValues { columns[$0] }
  }

  /// Sealed rows keep their order: both sides ascend.
  private static func merged(
    _ old: FieldColumn?, _ added: FieldColumn, _ places: [UInt32]
  ) -> FieldColumn {
    guard let old else { return added }
    var result = FieldColumn()
    result.rows.reserveCapacity(old.rows.count + added.rows.count)
    result.values.reserveCapacity(old.rows.count + added.rows.count)
    var next = 0
    for index in old.rows.indices {
      let row = places[Int(old.rows[index])]
      while next < added.rows.count, added.rows[next] < row {
        result.append(added.rows[next], added.values[next])
        next += 1
      }
      result.append(row, old.values[index])
    }
    result.rows += added.rows[next...]
    result.values += added.values[next...]
    return result
  }
}

extension FieldColumn {
  fileprivate mutating func append(_ row: UInt32, _ value: UInt64) {
    rows.append(row)
    values.append(value)
  }
}

extension [DayMerge.Key] {
  /// Sorts by user; keys of one user stay in their order. Cost: as many passes as the highest user has digits.
  fileprivate mutating func sortByUser() {
    let digitBits = 12
    let highest = reduce(0) { Swift.max($0, $1.user) }
    var other = self
    for shift in stride(from: 0, to: UInt32.bitWidth - highest.leadingZeroBitCount, by: digitBits) {
      func digit(_ key: DayMerge.Key) -> Int { Int(key.user >> UInt32(shift)) & (1 << digitBits - 1) }
      var places = [Int](repeating: 0, count: 1 << digitBits + 1)
      for key in self { places[digit(key) + 1] += 1 }
      for index in 1..<places.count { places[index] += places[index - 1] }
      places.withUnsafeMutableBufferPointer { places in
        other.withUnsafeMutableBufferPointer { other in
          for key in self {
            other[places[digit(key)]] = key
            places[digit(key)] += 1
          }
        }
      }
      swap(&self, &other)
    }
  }

  /// Sorts the keys of each user, which mostly come in their order.
  fileprivate mutating func sortWithinUsers() {
    var begin = 0
    while begin < count {
      let user = self[begin].user
      var end = begin + 1
      var isSorted = true
      while end < count, self[end].user == user {
        isSorted = isSorted && self[end - 1].precedes(self[end])
        end += 1
      }
      if !isSorted { self[begin..<end].sort { $0.precedes($1) } }
      begin = end
    }
  }
}

extension DayMerge.Key {
  fileprivate var user: UInt32 { UInt32(userTime >> 32) }

  /// Parts and rows ascend with the log's offset: comparing them makes the order total.
  fileprivate func precedes(_ other: Self) -> Bool {
    if userTime != other.userTime { return userTime < other.userTime }
    if sequence != other.sequence { return sequence < other.sequence }
    return (part, row) < (other.part, other.row)
  }

  fileprivate func precedes(_ userTime: UInt64, _ sequence: UInt64) -> Bool {
    self.userTime != userTime ? self.userTime < userTime : self.sequence < sequence
  }
}

extension DayColumns {
  /// As the day is stored: nothing of it depends on when its events came or were merged.
  ///
  /// - Parameter exclusion: by which the flags say whether a scene counts.
  func canonical(_ exclusion: SceneExclusion) -> DayColumns {
    var result = compacted()
    result.sequence = allSequences
    result.apply(exclusion)
    return result
  }

  /// The same day with each context once, in the order of first use, and without those that no row uses.
  func compacted() -> DayColumns {
    var result = self
    result.contexts = contexts.compacted(&result.context)
    return result
  }
}
