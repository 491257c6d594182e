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
  /// Number of the first context of each part in the merged day.
  private var contextBase: [UInt32] = []

  /// - Parameters:
  ///   - sealed: with its sequence numbers, unless all are 0.
  ///   - wantsFields: which fields of the events the merged day will have.
  init(sealed: DayColumns, parts: [Part], wantsFields: @escaping (UInt32) -> Bool = { _ in true }) {
    self.sealed = sealed
    self.parts = parts.filter { !$0.indices.isEmpty }
    self.wantsFields = wantsFields
  }

  /// Cost: sorts the unsealed rows, copies the others.
  mutating func merged() -> DayColumns {
    guard !parts.isEmpty else { return sealed }
    let keys = sortedKeys()
    let total = sealed.count + keys.count
    precondition(total <= Limits.rowsPerSegmentMax, "a day of more than 2^31 events")
    var output = Output(sealed, capacity: total)
    for part in parts {
      contextBase.append(UInt32(output.day.contextWords.count / ContextColumns.count))
      output.day.contextWords += part.rows.contexts.words
    }
    merge(keys, into: &output)
    output.finish()
    addFields(&output)
    return output.day
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

  private func merge(_ keys: [Key], into output: inout Output) {
    var next = 0
    for position in sealed.users.indices {
      let high = UInt64(sealed.users[position]) << 32
      for row in sealed.rows(ofUserAt: position) {
        let userTime = high | UInt64(sealed.time[row])
        let sequence = sealed.sequence.isEmpty ? 0 : sealed.sequence[row]
        while next < keys.count, keys[next].precedes(userTime, sequence) {
          add(keys[next], &output)
          next += 1
        }
        output.appendSealed(sealed, row, user: sealed.users[position])
      }
    }
    while next < keys.count {
      add(keys[next], &output)
      next += 1
    }
  }

  private func add(_ key: Key, _ output: inout Output) {
    let rows = parts[Int(key.part)].rows
    let row = Int(key.row)
    output.append(
      user: UInt32(key.userTime >> 32), time: UInt32(truncatingIfNeeded: key.userTime),
      sequence: key.sequence, event: rows.event[row], page: rows.page[row],
      context: rows.context[row] + contextBase[Int(key.part)], flags: rows.flags[row],
      origin: Origin(part: key.part + 1, row: key.row))
  }

  private func addFields(_ output: inout Output) {
    var places = Places(parts: parts, sealedCount: sealed.count)
    for (row, origin) in output.origins.enumerated() { places.set(origin, UInt32(row)) }
    var columns: [UInt32: FieldColumn] = [:]
    for (field, column) in sealed.fields where wantsFields(field) {
      columns[field] = FieldColumn(
        rows: column.rows.map { places.sealed[Int($0)] }, values: column.values)
    }
    // Sealed rows keep their order, so only columns that new rows are added to must be sorted.
    var touched: Set<UInt32> = []
    for (number, part) in parts.enumerated() {
      for index in part.rows.fieldRow.indices where wantsFields(part.rows.fieldID[index]) {
        guard let row = places.place(part: number, row: part.rows.fieldRow[index]) else { continue }
        let field = part.rows.fieldID[index]
        columns[field, default: FieldColumn()].rows.append(row)
        columns[field, default: FieldColumn()].values.append(part.rows.fieldValue[index])
        touched.insert(field)
      }
    }
    for field in touched { columns[field]?.sort() }
    output.day.fields = columns
  }
}

extension DayMerge.Key {
  fileprivate func precedes(_ userTime: UInt64, _ sequence: UInt64) -> Bool {
    self.userTime != userTime ? self.userTime < userTime : self.sequence < sequence
  }
}

extension DayMerge {
  /// Where a merged row comes from; part 0 is the sealed day.
  fileprivate struct Origin {
    let part: UInt32
    let row: UInt32
  }

  /// Where rows went.
  fileprivate struct Places {
    var sealed: [UInt32]
    private var parts: [[UInt32]]

    init(parts: [Part], sealedCount: Int) {
      sealed = Array(repeating: 0, count: sealedCount)
      self.parts = parts.map { Array(repeating: .max, count: $0.rows.count) }
    }

    mutating func set(_ origin: Origin, _ place: UInt32) {
      if origin.part == 0 {
        sealed[Int(origin.row)] = place
      } else {
        parts[Int(origin.part) - 1][Int(origin.row)] = place
      }
    }

    /// nil: the row belongs to another day.
    func place(part: Int, row: UInt32) -> UInt32? {
      let place = parts[part][Int(row)]
      return place == .max ? nil : place
    }
  }

  /// The merged day as it grows.
  fileprivate struct Output {
    var day: DayColumns
    var origins: [Origin] = []
    private var hasSequence = false

    init(_ sealed: DayColumns, capacity: Int) {
      day = DayColumns(day: sealed.day, beginMilliseconds: sealed.beginMilliseconds)
      day.contextWords = sealed.contextWords
      day.time.reserveCapacity(capacity)
      day.sequence.reserveCapacity(capacity)
      day.event.reserveCapacity(capacity)
      day.page.reserveCapacity(capacity)
      day.context.reserveCapacity(capacity)
      day.flags.reserveCapacity(capacity)
      origins.reserveCapacity(capacity)
    }

    mutating func appendSealed(_ sealed: DayColumns, _ row: Int, user: UInt32) {
      append(
        user: user, time: sealed.time[row],
        sequence: sealed.sequence.isEmpty ? 0 : sealed.sequence[row], event: sealed.event[row],
        page: sealed.page[row], context: sealed.context[row], flags: sealed.flags[row],
        origin: Origin(part: 0, row: UInt32(row)))
    }

    mutating func append(
      user: UInt32, time: UInt32, sequence: UInt64, event: UInt32, page: UInt32, context: UInt32,
      flags: UInt8, origin: Origin
    ) {
      if day.users.last != user {
        day.users.append(user)
        day.userEnds.append(0)
      }
      day.time.append(time)
      day.userEnds[day.userEnds.count - 1] = UInt32(day.time.count)
      day.sequence.append(sequence)
      hasSequence = hasSequence || sequence != 0
      day.event.append(event)
      day.page.append(page)
      day.context.append(context)
      day.flags.append(flags)
      origins.append(origin)
    }

    mutating func finish() { if !hasSequence { day.sequence = [] } }
  }
}

extension FieldColumn {
  fileprivate mutating func sort() {
    let order = rows.indices.sorted { rows[$0] < rows[$1] }
    self = FieldColumn(rows: order.map { rows[$0] }, values: order.map { values[$0] })
  }
}

extension DayColumns {
  /// As the day is stored: nothing of it depends on when its events came or were merged. Whether a scene was left out when
  /// its event was received is no part of it, for whoever reads it sets that anew.
  func canonical() -> DayColumns {
    var result = self
    if sequence.isEmpty { result.sequence = Array(repeating: 0, count: count) }
    result.flags = flags.map { $0 & ~RowFlags.excludedScene }
    result.exclusion = nil
    return result
  }

  /// The same day with each context once, in the order of first use, and without those that no row uses.
  func compacted() -> DayColumns {
    var set = ContextSet()
    let unknown = UInt32.max
    var numbers = [UInt32](repeating: unknown, count: contextWords.count / ContextColumns.count)
    var result = self
    contextWords.withUnsafeBufferPointer { words in
      for row in context.indices {
        let number = Int(context[row])
        if numbers[number] == unknown {
          let begin = number * ContextColumns.count
          numbers[number] = set.number(
            UnsafeBufferPointer(rebasing: words[begin..<begin + ContextColumns.count]))
        }
        result.context[row] = numbers[number]
      }
    }
    result.contextWords = set.words
    return result
  }
}
