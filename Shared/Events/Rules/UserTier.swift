/// What a user is on a day D by the days of the first and the last activity (SEMANTICS 8). Days are counted back from D, which
/// is the first of them: `active` within the last 7, `dormant` within the last 30 beyond, `churned` before.
package enum UserTier: String, Sendable, CaseIterable {
  case new, active, dormant, churned
}

/// The bounds of the tiers.
package struct UserTierRule: Sendable, Equatable {
  package static let classic = UserTierRule(activeDays: 7, dormantDays: 30)

  /// Of so many days, D included, one is the last active one.
  package let activeDays: Int
  package let dormantDays: Int

  package init(activeDays: Int, dormantDays: Int) {
    precondition(0 < activeDays && activeDays < dormantDays)
    self.activeDays = activeDays
    self.dormantDays = dormantDays
  }

  /// - Parameters:
  ///   - first, last: local days of the first and the last activity up to the end of `day`.
  package func tier(first: Int, last: Int, on day: Int) -> UserTier {
    precondition(first <= last && last <= day)
    if first == day { return .new }
    if last > day - activeDays { return .active }
    return last > day - dormantDays ? .dormant : .churned
  }
}
