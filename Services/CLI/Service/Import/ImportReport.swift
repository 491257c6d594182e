/// What became of a file's rows.
package struct ImportReport: Codable, Sendable, Equatable {
  /// Rows that were refused for one reason.
  package struct Refusal: Codable, Sendable, Equatable {
    package var reason: String
    package var field: String
    package var rows: Int
    /// The first few lines.
    package var lines: [Int]
    package var example: String
  }

  /// Different reasons that are kept apart; the rest goes under `other`.
  private static let reasonsMax = 200
  private static let linesMax = 5

  package private(set) var rows = 0
  /// Rows that are now in the log, `duplicates` included.
  package private(set) var accepted = 0
  /// Rows that an earlier import had brought.
  package private(set) var duplicates = 0
  package private(set) var rejected: [Refusal] = []
  /// Stored aside: late, or the same `event_id` with another content.
  package private(set) var quarantined: [Refusal] = []

  package init() {}

  package var rejectedRows: Int { rejected.reduce(0) { $0 + $1.rows } }
  package var quarantinedRows: Int { quarantined.reduce(0) { $0 + $1.rows } }

  package mutating func count(rows count: Int) { rows += count }

  package mutating func count(accepted: Int, duplicates: Int) {
    self.accepted += accepted
    self.duplicates += duplicates
  }

  package mutating func reject(_ problem: LineProblem, line: Int) {
    Self.count(problem, line: line, in: &rejected)
  }

  package mutating func quarantine(_ problem: LineProblem, line: Int) {
    Self.count(problem, line: line, in: &quarantined)
  }

  private static func count(_ problem: LineProblem, line: Int, in list: inout [Refusal]) {
    var (reason, field) = (problem.reason, problem.field)
    var known = list.firstIndex { $0.reason == reason && $0.field == field }
    if known == nil && list.count >= reasonsMax {
      (reason, field) = ("other", "")
      known = list.firstIndex { $0.reason == reason && $0.field == field }
    }
    guard let index = known else {
      list.append(
        Refusal(reason: reason, field: field, rows: 1, lines: [line], example: problem.message))
      return
    }
    list[index].rows += 1
    if list[index].lines.count < linesMax { list[index].lines.append(line) }
  }
}
