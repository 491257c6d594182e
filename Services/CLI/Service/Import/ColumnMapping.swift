import Messages

/// Which column of a file becomes what of an event.
package struct ColumnMapping: Sendable {
  private let named: [String: ColumnTarget]
  private let constants: [(target: ColumnTarget, value: CellValue)]
  private let keepsUnmapped: Bool
  private let renamedEvents: [String: String]

  /// - Parameters:
  ///   - maps: `column=target`.
  ///   - constants: `target=value`, used where no column gives the target.
  ///   - renames: `from=to` for names of events.
  ///   - keepsUnmapped: other columns become fields of the event.
  /// - Throws: a sentence that names the option.
  package init(
    maps: [String], constants: [String], renames: [String], keepsUnmapped: Bool
  ) throws(LineProblem) {
    var named: [String: ColumnTarget] = [:]
    var taken: Set<ColumnTarget> = []
    for map in maps {
      let (column, text) = try Self.pair(map, option: "--map column=target")
      let target = try ColumnTarget(text)
      guard named.updateValue(target, forKey: column) == nil else {
        throw LineProblem("bad_map", "--map: the column \"\(column)\" is mapped twice")
      }
      guard target == .ignored || taken.insert(target).inserted else {
        throw LineProblem("bad_map", "--map: two columns go to \(text)")
      }
    }
    self.named = named
    var values: [(target: ColumnTarget, value: CellValue)] = []
    for constant in constants {
      let (target, value) = try Self.pair(constant, option: "--set target=value")
      values.append((try ColumnTarget(target), .text(value)))
    }
    self.constants = values
    var events: [String: String] = [:]
    for rename in renames {
      let (from, to) = try Self.pair(rename, option: "--rename-event from=to")
      events[from] = to
    }
    renamedEvents = events
    self.keepsUnmapped = keepsUnmapped
  }

  private static func pair(
    _ text: String, option: String
  ) throws(LineProblem) -> (String, String) {
    guard let sign = text.lastIndex(of: "="), sign != text.startIndex else {
      throw LineProblem("bad_map", "\(option): there is no \"=\" in \"\(text)\"")
    }
    return (String(text[..<sign]), String(text[text.index(after: sign)...]))
  }

  /// Where a column goes: as mapped, else to the target of its own name, else to a field.
  package func target(of column: String) -> ColumnTarget {
    if let target = named[column] { return target }
    let isTaken = { (target: ColumnTarget) in named.values.contains(target) }
    if column != "-", let target = try? ColumnTarget(column), !isTaken(target) { return target }
    guard keepsUnmapped else { return .ignored }
    let field = ColumnTarget.field(FieldName.nearest(column), .asWritten)
    return isTaken(field) ? .ignored : field
  }

  /// Checks what can be known before the first line.
  ///
  /// - Throws: where a mapped column is missing, or nothing gives a name, a time or a user.
  package func check(columns: [String]) throws(LineProblem) {
    for column in named.keys.sorted() where !columns.contains(column) {
      throw LineProblem(
        "bad_map", "--map: there is no column \"\(column)\"; the file has "
          + columns.joined(separator: ", "))
    }
    var targets = Set(columns.map(target(of:)))
    targets.formUnion(constants.map(\.target))
    let required: [(ColumnTarget, String)] = [
      (.name, "name"), (.time, "time"), (.openID, "open_id"),
    ]
    for (target, name) in required where !targets.contains(target) {
      throw LineProblem(
        "bad_map", "no column goes to \(name): say --map COLUMN=\(name)"
          + (target == .time ? "" : " or --set \(name)=VALUE"))
    }
  }

  package var constantValues: [(target: ColumnTarget, value: CellValue)] { constants }

  package func eventName(_ name: String) -> String { renamedEvents[name] ?? name }

  /// The same options give the same text in every run.
  package var fingerprint: String {
    let maps = named.map { "\($0.key)=\($0.value)" }.sorted()
    let constants = constants.map { "\($0.target)=\($0.value)" }
    let renames = renamedEvents.map { "\($0.key)=\($0.value)" }.sorted()
    return (maps + constants + renames + ["\(keepsUnmapped)"]).joined(separator: "\n")
  }
}
