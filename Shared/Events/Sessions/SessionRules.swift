/// How one user's events are cut into opens (SEMANTICS 2). Per app; may be changed and applied to history.
package struct SessionRules: Sendable, Equatable {
  /// Coming back from a background of this length or less does not begin an open, ms.
  package let mergeUnderMilliseconds: Int64
  /// An event later than the one before by more than this begins an open, ms.
  package let timeoutMilliseconds: Int64

  package static let mergeUnderRange: ClosedRange<Int64> = 0...86_400_000
  package static let timeoutRange: ClosedRange<Int64> = 1_000...86_400_000

  /// 30 s, 30 min: the default.
  package static let classic = SessionRules(mergeUnder: 30_000, timeout: 1_800_000)
  /// Every return from the background begins an open.
  package static let everyShow = SessionRules(mergeUnder: 0, timeout: 1_800_000)

  private init(mergeUnder: Int64, timeout: Int64) {
    mergeUnderMilliseconds = mergeUnder
    timeoutMilliseconds = timeout
  }

  /// - Throws: out of range, naming `session_rules.merge_under_ms` or `session_rules.timeout_ms`.
  package init(mergeUnderMilliseconds: Int64, timeoutMilliseconds: Int64) throws(RuleViolation) {
    try Self.check("session_rules.merge_under_ms", mergeUnderMilliseconds, Self.mergeUnderRange)
    try Self.check("session_rules.timeout_ms", timeoutMilliseconds, Self.timeoutRange)
    self.init(mergeUnder: mergeUnderMilliseconds, timeout: timeoutMilliseconds)
  }

  private static func check(_ field: String, _ value: Int64, _ range: ClosedRange<Int64>)
    throws(RuleViolation)
  {
    guard range.contains(value) else {
      throw .outOfRange(field, value, min: range.lowerBound, max: range.upperBound)
    }
  }
}
