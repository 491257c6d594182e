import Events

/// A value of a breakdown's field in small.
struct BreakdownKey: Hashable, Sendable {
  enum Kind: UInt8, Sendable { case missing, text, integer, double, boolean }

  let kind: Kind
  let bits: UInt64

  static let missing = BreakdownKey(kind: .missing, bits: 0)
}

/// The numbers of the values of a day's rows.
struct RowLabels: Sendable {
  /// By number of a context, else by row.
  let byContext: Bool
  let numbers: [Int32]

  var byteCount: Int { numbers.count * 4 }

  @inline(__always)
  func number(_ row: Int, context: @autoclosure () -> UInt32) -> Int32 {
    numbers[byContext ? Int(context()) : row]
  }

  /// The same of many rows, without bounds checks. Good only inside `withLook`.
  struct Look {
    fileprivate let numbers: UnsafeBufferPointer<Int32>
    /// nil: numbers stand by row.
    fileprivate let contexts: UnsafeBufferPointer<UInt32>?

    @inline(__always)
    subscript(row: Int) -> Int32 {
      guard let contexts else { return numbers[row] }
      return numbers[Int(contexts[row])]
    }
  }

  func withLook<Result>(_ day: DayColumns, _ body: (Look) -> Result) -> Result {
    numbers.withUnsafeBufferPointer { numbers in
      day.context.withUnsafeBufferPointer {
        body(Look(numbers: numbers, contexts: byContext ? $0 : nil))
      }
    }
  }
}

/// A breakdown made ready for an app: gives each row of a day the number of its value.
final class Breakdown {
  /// Distinct values in first-seen order.
  private(set) var keys: [BreakdownKey] = []
  private var numbers: [BreakdownKey: Int32] = [:]
  private let source: FieldSource
  private let app: AppState
  /// The texts of a source field, by the bits of their keys.
  private var sourceTexts: [String] = []
  /// Of a column of contexts: by word, the number of its value; -1: not yet met.
  private var wordNumbers: [Int32] = []

  var fieldCodes: Set<UInt32> { source.fieldCodes }
  var reads: RowReads { source.reads }

  init(
    _ field: String, in snapshot: AppSnapshot, asked: String = "breakdown"
  ) throws(QueryError) {
    source = try FieldSource(field, in: snapshot, asked: asked)
    app = snapshot.app
  }

  private func number(_ key: BreakdownKey) -> Int32 {
    if let known = numbers[key] { return known }
    let number = Int32(keys.count)
    keys.append(key)
    numbers[key] = number
    return number
  }

  /// The number of each row's value.
  ///
  /// - Throws: RESOURCE_EXHAUSTED where the field has more values than a breakdown may.
  func values(_ day: DayColumns) throws(QueryError) -> [Int32] {
    let result = numbers(day)
    try checkCount()
    return result
  }

  private func checkCount() throws(QueryError) {
    guard keys.count <= Limits.breakdownValuesMax else {
      throw QueryError(
        .resourceExhausted,
        "breakdown: the field has more than \(Limits.breakdownValuesMax) values")
    }
  }

  /// The number of each row's value; where the context alone decides it, of each context's.
  ///
  /// - Throws: as `values`.
  func rowValues(_ day: DayColumns) throws(QueryError) -> RowValues {
    guard let contexts = contextNumbers(day) else { return RowValues(perRow: try values(day)) }
    try checkCount()
    return RowValues(perContext: contexts)
  }

  /// nil: not the context alone decides.
  private func contextNumbers(_ day: DayColumns) -> [Int32]? {
    switch source {
    case .context(let position, let type): return contexts(day, position, type)
    case .source(let column): return column.values(day).map { number(sourceKey($0)) }
    default: return nil
    }
  }

  /// The same, by context where the field is one of contexts: for scans that need the values of few rows.
  func labels(_ day: DayColumns) throws(QueryError) -> RowLabels {
    if case .context(let position, let type) = source {
      return RowLabels(byContext: true, numbers: contexts(day, position, type))
    }
    return RowLabels(byContext: false, numbers: try values(day))
  }

  private func contexts(_ day: DayColumns, _ position: Int, _ type: FieldType) -> [Int32] {
    let kind: BreakdownKey.Kind = type == .text ? .text : .integer
    // Taken out, so that it is an array of its own in the loop.
    var known = wordNumbers
    wordNumbers = []
    defer { wordNumbers = known }
    return day.contexts.withLook(position) { words in
      let room = min(words.highest + 1, Limits.breakdownValuesMax)
      if known.count < room { known += repeatElement(-1, count: room - known.count) }
      return (0..<day.contextCount).map { context in
        let word = words[context]
        let isKept = word < room
        if isKept, known[word] >= 0 { return known[word] }
        let number = number(word == 0 ? .missing : BreakdownKey(kind: kind, bits: UInt64(word)))
        if isKept { known[word] = number }
        return number
      }
    }
  }

  private func numbers(_ day: DayColumns) -> [Int32] {
    if let perContext = contextNumbers(day) { return day.context.map { perContext[Int($0)] } }
    switch source {
    case .event: return codes(day.event)
    case .page: return codes(day.page)
    case .user: return users(day)
    case .releaseChannel:
      return day.flags.map {
        let channel = UInt64(RowFlags(rawValue: $0).traffic.channel)
        return number(BreakdownKey(kind: .text, bits: channel))
      }
    case .context, .source: preconditionFailure("decided by the context")
    case .fields(let codes): return fields(day, codes)
    }
  }

  private func sourceKey(_ value: FieldValue?) -> BreakdownKey {
    switch value {
    case .integer(let value)?: return BreakdownKey(kind: .integer, bits: UInt64(bitPattern: value))
    case .text(let text)?:
      // Few: an app's channels.
      let known = sourceTexts.firstIndex(of: text)
      if known == nil { sourceTexts.append(text) }
      return BreakdownKey(kind: .text, bits: UInt64(known ?? sourceTexts.count - 1))
    case nil, .double?, .boolean?: return .missing
    }
  }

  private func codes(_ column: [UInt32]) -> [Int32] {
    var known = [Int32](repeating: -1, count: Int(column.highest) + 1)
    return column.map { code in
      if known[Int(code)] < 0 {
        known[Int(code)] = number(
          code == 0 ? .missing : BreakdownKey(kind: .text, bits: UInt64(code)))
      }
      return known[Int(code)]
    }
  }

  private func users(_ day: DayColumns) -> [Int32] {
    var result = [Int32](repeating: 0, count: day.count)
    for position in day.users.indices {
      let number = number(BreakdownKey(kind: .text, bits: UInt64(day.users[position])))
      for row in day.rows(ofUserAt: position) { result[row] = number }
    }
    return result
  }

  private func fields(
    _ day: DayColumns, _ codes: [(code: UInt32, kind: BatchField.Kind)]
  ) -> [Int32] {
    var result = [Int32](repeating: number(.missing), count: day.count)
    for (code, kind) in codes {
      guard let column = day.fields[code] else { continue }
      let kind: BreakdownKey.Kind =
        switch kind {
        case .text: .text
        case .integer: .integer
        case .double: .double
        case .boolean: .boolean
        case .missing: .missing
        }
      for (index, row) in column.rows.enumerated() {
        result[Int(row)] = number(BreakdownKey(kind: kind, bits: column.values[index]))
      }
    }
    return result
  }

  /// A value as an answer holds it; nil: missing.
  func value(_ number: Int32) -> FieldValue? {
    let key = keys[Int(number)]
    switch key.kind {
    case .missing: return nil
    case .integer: return .integer(Int64(bitPattern: key.bits))
    case .double: return .double(Double(bitPattern: key.bits))
    case .boolean: return .boolean(key.bits != 0)
    case .text: return .text(text(key.bits))
    }
  }

  private func text(_ bits: UInt64) -> String {
    let code = UInt32(truncatingIfNeeded: bits)
    switch source {
    case .event: return app.texts(.events, [code])[0]
    case .page: return app.texts(.pages, [code])[0]
    case .user: return app.texts(.users, [code])[0]
    case .releaseChannel: return ReleaseChannel(rawValue: UInt8(truncatingIfNeeded: code))?.name ?? ""
    case .source: return sourceTexts[Int(code)]
    case .context, .fields: return app.texts(.values, [code])[0]
    }
  }
}

extension FieldValue {
  /// An order of all values: by type, then by value. For breaking ties.
  static func isBefore(_ a: FieldValue?, _ b: FieldValue?) -> Bool {
    switch (a, b) {
    case (.text(let a)?, .text(let b)?): a < b
    case (.boolean(let a)?, .boolean(let b)?): !a && b
    case (.integer?, .integer?), (.integer?, .double?), (.double?, .integer?), (.double?, .double?):
      a.flatMap { a in b.map { ValueTest.order(a, $0) < 0 } } ?? false
    default: rank(a) < rank(b)
    }
  }

  private static func rank(_ value: FieldValue?) -> Int {
    switch value {
    case .text?: 0
    case .integer?, .double?: 1
    case .boolean?: 2
    case nil: 3
    }
  }
}
