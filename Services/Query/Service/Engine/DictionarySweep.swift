import Events

/// Finds the strings of an app's dictionaries that no event uses any more: what only erased users had, or only dropped days.
struct DictionarySweep {
  /// Users are erased one by one: one without events may still be known by the time of the first.
  static let kinds: [DictionaryKind] = [.events, .pages, .values, .fields]

  /// By code, as many as there were when the sweep began: what came later is in use.
  private var used: [DictionaryKind: [Bool]] = [:]

  private static let textColumns = ContextColumns.fields.indices.filter {
    ContextColumns.fields[$0].kind == .text
  }

  init(_ tables: borrowing AppTables) {
    for kind in Self.kinds { used[kind] = Array(repeating: false, count: tables[kind].count) }
    // Code 0 is no string, and built-in names have their codes in every app.
    mark(.events, BuiltInEvent.allCases.map { UInt32($0.rawValue) })
    mark(.fields, [FieldKey.stayCode])
  }

  /// Fields whose values are codes of `values`.
  static func textFields(_ tables: borrowing AppTables) -> Set<UInt32> {
    let fields = tables[.fields]
    return Set((1..<max(1, UInt32(fields.count))).filter {
      FieldKey(text: fields.text($0))?.kind == .text
    })
  }

  /// - Parameter day: with all of its fields.
  mutating func mark(_ day: DayColumns, textFields: Set<UInt32>) {
    mark(.events, day.event)
    mark(.pages, day.page)
    for column in Self.textColumns { mark(.values, day.contextColumn(column)) }
    for (field, column) in day.fields {
      mark(.fields, [field])
      if textFields.contains(field) { mark(.values, column.values) }
    }
  }

  mutating func mark(_ rows: RowBuffer, textFields: Set<UInt32>) {
    mark(.events, rows.event)
    mark(.pages, rows.page)
    markContexts(rows.contexts.words)
    mark(.fields, rows.fieldID)
    let texts = rows.fieldID.indices.lazy.filter { textFields.contains(rows.fieldID[$0]) }
    mark(.values, texts.map { rows.fieldValue[$0] })
  }

  private mutating func markContexts(_ words: [UInt32]) {
    for column in Self.textColumns {
      mark(.values, stride(from: column, to: words.count, by: ContextColumns.count).lazy.map { words[$0] })
    }
  }

  private mutating func mark(_ kind: DictionaryKind, _ codes: some Sequence<some FixedWidthInteger>) {
    // Taken out, so that the loop looks nothing up.
    guard var marks = used.removeValue(forKey: kind) else { return }
    for code in codes {
      let code = Int(truncatingIfNeeded: code)
      if code < marks.count { marks[code] = true }
    }
    used[kind] = marks
  }

  /// Codes that nothing marked, ascending.
  func unused(_ kind: DictionaryKind) -> [UInt32] {
    (used[kind] ?? []).enumerated().dropFirst().filter { !$0.element }.map { UInt32($0.offset) }
  }
}
