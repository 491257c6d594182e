/// Puts unsealed rows and a sealed day together, in the order of SEMANTICS 1: user, event time, sequence number, log
/// offset. Sealed rows come before unsealed ones where all else is equal, for they were received before them.
struct DayMerge {
  /// Rows of one buffer that belong to the day, in the order of the log.
  struct Part {
    let rows: RowBuffer
    let indices: [UInt32]
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
    self.parts = parts.filter { !$0.indices.isEmpty }
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
    keys.reserveCapacity(parts.reduce(0) { $0 + $1.indices.count })
    for (number, part) in parts.enumerated() {
      for row in part.indices {
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
    // Parts and rows ascend with the log's offset: comparing them makes the order total.
    keys.sort { a, b in
      if a.userTime != b.userTime { return a.userTime < b.userTime }
      if a.sequence != b.sequence { return a.sequence < b.sequence }
      return (a.part, a.row) < (b.part, b.row)
    }
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
    [T](unsafeUninitializedCapacity: order.count) { target, filled in
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
      for row in part.indices {
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

  private struct Added {
    let row: UInt32
    let value: UInt64
  }

  private func fields(_ keys: [Key], _ order: [UInt32]) -> [UInt32: FieldColumn] {
    var places = [UInt32](repeating: 0, count: order.count)
    for (out, place) in order.enumerated() { places[Int(place)] = UInt32(out) }
    let added = addedFields(keys, places)
    var columns: [UInt32: FieldColumn] = [:]
    for field in Set(sealed.fields.keys).union(added.keys) where wantsFields(field) {
      columns[field] = Self.merged(sealed.fields[field], added[field] ?? [], places)
    }
    return columns
  }

  /// The fields of the new rows, each in the order of the merged rows.
  private func addedFields(_ keys: [Key], _ places: [UInt32]) -> [UInt32: [Added]] {
    var ofParts = parts.map { [UInt32](repeating: .max, count: $0.rows.fieldRow.isEmpty ? 0 : $0.rows.count) }
    for (number, key) in keys.enumerated() where !ofParts[Int(key.part)].isEmpty {
      ofParts[Int(key.part)][Int(key.row)] = places[sealed.count + number]
    }
    var added: [UInt32: [Added]] = [:]
    for (number, part) in parts.enumerated() {
      for index in part.rows.fieldRow.indices where wantsFields(part.rows.fieldID[index]) {
        // A row of another day has no place here.
        let row = ofParts[number][Int(part.rows.fieldRow[index])]
        guard row != .max else { continue }
        added[part.rows.fieldID[index], default: []]
          .append(Added(row: row, value: part.rows.fieldValue[index]))
      }
    }
    return added.mapValues { $0.sorted { $0.row < $1.row } }
  }

  /// Sealed rows keep their order: both sides ascend.
  private static func merged(
    _ old: FieldColumn?, _ added: [Added], _ places: [UInt32]
  ) -> FieldColumn {
    var result = FieldColumn()
    let old = old ?? FieldColumn()
    result.rows.reserveCapacity(old.rows.count + added.count)
    result.values.reserveCapacity(old.rows.count + added.count)
    var next = 0
    for index in old.rows.indices {
      let row = places[Int(old.rows[index])]
      while next < added.count, added[next].row < row {
        result.append(added[next].row, added[next].value)
        next += 1
      }
      result.append(row, old.values[index])
    }
    for one in added[next...] { result.append(one.row, one.value) }
    return result
  }
}

extension FieldColumn {
  fileprivate mutating func append(_ row: UInt32, _ value: UInt64) {
    rows.append(row)
    values.append(value)
  }
}

extension DayMerge.Key {
  fileprivate var user: UInt32 { UInt32(userTime >> 32) }

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
    if sequence.isEmpty { result.sequence = Array(repeating: 0, count: count) }
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
