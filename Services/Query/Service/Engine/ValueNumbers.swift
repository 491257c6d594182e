import Events
import Synchronization

/// The distinct values of one field, numbered in the order in which any thread of a query meets them.
final class ValueNumbers: Sendable {
  private struct State {
    var keys: [BreakdownKey] = []
    var numbers: [BreakdownKey: Int32] = [:]
    /// The texts of a source field, by the bits of their keys.
    var sourceTexts: [String] = []
  }

  let source: FieldSource
  let sources: AppSources
  /// Of a dictionary: one more than its highest code, as far as the snapshot knows it.
  let codeCount: Int
  private let app: AppState
  private let asked: String
  private let state = Mutex(State())

  init(_ field: String, asked: String, in snapshot: AppSnapshot) throws(QueryError) {
    source = try FieldSource(field, in: snapshot, asked: asked)
    sources = snapshot.definition.sources
    app = snapshot.app
    self.asked = asked
    let kind: DictionaryKind? =
      switch source {
      case .event: .events
      case .page: .pages
      case .user: .users
      case .releaseChannel, .context, .source, .fields: nil
      }
    codeCount = snapshot.app.tables.withLock { tables in kind.map { tables[$0].count } ?? 0 }
  }

  var count: Int { state.withLock { $0.keys.count } }

  /// - Throws: RESOURCE_EXHAUSTED where the field has more values than a breakdown may.
  func check() throws(QueryError) {
    guard count <= Limits.breakdownValuesMax else {
      throw QueryError(
        .resourceExhausted, "\(asked): more than \(Limits.breakdownValuesMax) values")
    }
  }

  func number(_ key: BreakdownKey) -> Int32 { state.withLock { Self.number(key, &$0) } }

  private static func number(_ key: BreakdownKey, _ state: inout State) -> Int32 {
    if let known = state.numbers[key] { return known }
    let number = Int32(state.keys.count)
    state.keys.append(key)
    state.numbers[key] = number
    return number
  }

  /// Of what a source field makes of a context.
  func number(_ value: FieldValue?) -> Int32 {
    state.withLock { state in
      switch value {
      case .integer(let value)?:
        return Self.number(BreakdownKey(kind: .integer, bits: UInt64(bitPattern: value)), &state)
      case .text(let text)?:
        // Few: an app's channels.
        let known = state.sourceTexts.firstIndex(of: text)
        if known == nil { state.sourceTexts.append(text) }
        let bits = UInt64(known ?? state.sourceTexts.count - 1)
        return Self.number(BreakdownKey(kind: .text, bits: bits), &state)
      case nil, .double?, .boolean?: return Self.number(.missing, &state)
      }
    }
  }

  /// A value as an answer holds it; nil: missing.
  func value(_ number: Int32) -> FieldValue? {
    let (key, sourceTexts) = state.withLock { ($0.keys[Int(number)], $0.sourceTexts) }
    switch key.kind {
    case .missing: return nil
    case .integer: return .integer(Int64(bitPattern: key.bits))
    case .double: return .double(Double(bitPattern: key.bits))
    case .boolean: return .boolean(key.bits != 0)
    case .text:
      if case .source = source { return .text(sourceTexts[Int(key.bits)]) }
      return .text(text(UInt32(truncatingIfNeeded: key.bits)))
    }
  }

  private func text(_ code: UInt32) -> String {
    switch source {
    case .event: app.texts(.events, [code])[0]
    case .page: app.texts(.pages, [code])[0]
    case .user: app.texts(.users, [code])[0]
    case .releaseChannel: ReleaseChannel(rawValue: UInt8(truncatingIfNeeded: code))?.name ?? ""
    case .context, .fields, .source: app.texts(.values, [code])[0]
    }
  }
}

/// Gives the rows of days the numbers of a field's values. For one thread: what it has asked for it remembers by code, so that a
/// row costs a look-up in a table.
final class ValueReader {
  let numbers: ValueNumbers
  /// By dictionary code, or scene; -1: not yet known.
  private var byCode: [Int32] = []
  private var byKey: [BreakdownKey: Int32] = [:]

  init(_ numbers: ValueNumbers) { self.numbers = numbers }

  var fieldCodes: Set<UInt32> { numbers.source.fieldCodes }

  /// The numbers of these rows' values.
  func read(_ rows: [UInt32], _ day: DayColumns) -> [Int32] {
    switch numbers.source {
    case .event:
      day.event.withUnsafeBufferPointer { events in
        read(rows, codes: numbers.codeCount, { Int(events[$0]) }, text)
      }
    case .page:
      day.page.withUnsafeBufferPointer { pages in
        read(rows, codes: numbers.codeCount, { Int(pages[$0]) }, text)
      }
    case .user: users(rows, day)
    case .releaseChannel:
      read(rows, codes: 8, { Int(RowFlags(rawValue: day.flags[$0]).traffic.channel) }, text)
    case .context(let position, let type):
      contexts(rows, day, position, type == .text ? text : integer)
    case .source(let column): sources(rows, day, column)
    case .fields(let codes): fields(rows, day, codes)
    }
  }

  /// Code 0 is a missing value.
  private func text(_ code: Int) -> Int32 {
    numbers.number(code == 0 ? .missing : BreakdownKey(kind: .text, bits: UInt64(code)))
  }

  private func integer(_ word: Int) -> Int32 {
    numbers.number(word == 0 ? .missing : BreakdownKey(kind: .integer, bits: UInt64(word)))
  }

  /// By code of each row: a look-up in a table; what is not in it yet is asked for.
  ///
  /// - Parameter codes: one more than the highest code.
  @inline(__always)
  private func read(
    _ rows: [UInt32], codes: Int, _ code: (Int) -> Int, _ learn: (Int) -> Int32
  ) -> [Int32] {
    // Taken out, so that it is a buffer of its own in the loop.
    var table = byCode
    byCode = []
    if table.count < codes { table += repeatElement(-1, count: codes - table.count) }
    let result = [Int32](unsafeUninitializedCapacity: rows.count) { result, count in
      count = rows.count
      table.withUnsafeMutableBufferPointer { table in
        rows.withUnsafeBufferPointer { rows in
          for index in 0..<rows.count {
            let code = code(Int(rows[index]))
            if table[code] < 0 { table[code] = learn(code) }
            result[index] = table[code]
          }
        }
      }
    }
    byCode = table
    return result
  }

  private func users(_ rows: [UInt32], _ day: DayColumns) -> [Int32] {
    var position = 0
    let code = { (row: Int) -> Int in
      while day.userEnds[position] <= UInt32(row) { position += 1 }
      return Int(day.users[position])
    }
    return read(rows, codes: numbers.codeCount, code, text)
  }

  /// Numbers beyond it are looked up in a dictionary.
  private static let wordsMax = 1 << 24

  private func contexts(
    _ rows: [UInt32], _ day: DayColumns, _ position: Int, _ learn: (Int) -> Int32
  ) -> [Int32] {
    day.contexts.withLook(position) { words in
      day.context.withUnsafeBufferPointer { contexts in
        guard words.highest < Self.wordsMax else {
          return rows.map { learn(words[Int(contexts[Int($0)])]) }
        }
        return read(rows, codes: words.highest + 1, { words[Int(contexts[$0])] }, learn)
      }
    }
  }

  private static let sceneColumn = ContextColumns.position(.scene) ?? 0

  private func sources(_ rows: [UInt32], _ day: DayColumns, _ column: SourceColumn) -> [Int32] {
    guard column.field == .sourceKey else {
      let perContext = column.values(day).map { numbers.number($0) }
      return rows.map { perContext[Int(day.context[Int($0)])] }
    }
    return contexts(rows, day, Self.sceneColumn) { scene in
      numbers.number(
        scene == 0 ? nil : FieldValue.integer(Int64(numbers.sources.scenes.sourceKey(scene))))
    }
  }

  private func number(_ key: BreakdownKey) -> Int32 {
    if let known = byKey[key] { return known }
    let number = numbers.number(key)
    byKey[key] = number
    return number
  }

  private func fields(
    _ rows: [UInt32], _ day: DayColumns, _ codes: [(code: UInt32, kind: BatchField.Kind)]
  ) -> [Int32] {
    var result = [Int32](repeating: -1, count: rows.count)
    for (code, kind) in codes {
      guard let column = day.fields[code] else { continue }
      column.forEach(in: rows) { index, bits in
        result[index] = number(BreakdownKey(of: kind, bits: bits))
      }
    }
    for index in result.indices where result[index] < 0 { result[index] = number(.missing) }
    return result
  }
}

extension BreakdownKey {
  /// Of a field of an event. Both zeros are one value.
  init(of kind: BatchField.Kind, bits: UInt64) {
    switch kind {
    case .text: self.init(kind: .text, bits: bits)
    case .integer: self.init(kind: .integer, bits: bits)
    case .double:
      let value = Double(bitPattern: bits)
      self.init(kind: .double, bits: value == 0 ? 0 : bits)
    case .boolean: self.init(kind: .boolean, bits: bits)
    case .missing: self = .missing
    }
  }
}
