import Events

/// How many come how far along some steps within a window? (SEMANTICS 6)
package struct FunnelQuery: Sendable {
  package struct Step: Sendable {
    /// Any of these does the step.
    package var events: [String]
    package var filter: FilterTree?
    /// Empty: the first event's name.
    package var label: String
    /// A chain may leave it out.
    package var isOptional: Bool
    /// Done by another user, who came by the share of the step before.
    package var isByInvitedUser: Bool

    package init(
      _ events: [String], filter: FilterTree? = nil, label: String = "", isOptional: Bool = false,
      isByInvitedUser: Bool = false
    ) {
      self.events = events
      self.filter = filter
      self.label = label
      self.isOptional = isOptional
      self.isByInvitedUser = isByInvitedUser
    }
  }

  package enum Order: String, Sendable, CaseIterable { case ordered, strict, any }
  /// What counts once.
  package enum Count: String, Sendable, CaseIterable { case users, opens, entries }
  /// The event whose value a breakdown goes by.
  package enum BreakdownBy: String, Sendable, CaseIterable {
    case firstStep = "first_step"
    case lastStep = "last_step"
    case userFirstTouch = "user_first_touch"
    case userLastTouch = "user_last_touch"
  }

  /// Cuts a chain that has such an event between two steps.
  package struct Exclusion: Sendable {
    package var events: [String]
    package var filter: FilterTree?
    /// Steps from 0: the chain has done `steps.lowerBound` and not yet `steps.upperBound`. nil: between any two.
    package var steps: Range<Int>?

    package init(_ events: [String], filter: FilterTree? = nil, steps: Range<Int>? = nil) {
      self.events = events
      self.filter = filter
      self.steps = steps
    }
  }

  package var appID: String
  /// Local days in which step 1 must happen.
  package var days: ClosedRange<Int>
  /// A second range, aligned with the first.
  package var compareDays: ClosedRange<Int>?
  package var steps: [Step]
  /// From step 1 to any later step at most, included. nil: any later time within the range.
  package var windowMilliseconds: Int64?
  package var order = Order.ordered
  package var count = Count.users
  package var exclusions: [Exclusion] = []
  /// Fields whose values are equal on all steps of a chain.
  package var holdConstant: [String] = []
  /// The funnel's scope: other events are as if they were not there.
  package var filter: FilterTree?
  /// A field of the event that `breakdownBy` names.
  package var breakdown: String?
  package var breakdownBy = BreakdownBy.firstStep
  package var breakdownLimit: Int
  package var traffic: TrafficChoice

  package init(
    appID: String, days: ClosedRange<Int>, steps: [Step], windowMilliseconds: Int64?,
    breakdown: String? = nil, breakdownLimit: Int? = nil, traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.steps = steps
    self.windowMilliseconds = windowMilliseconds
    self.breakdown = breakdown
    self.breakdownLimit = breakdownLimit ?? Limits.breakdownLimitDefault
    self.traffic = traffic
  }

  /// A step is done by another user than the one before.
  var isAcrossUsers: Bool { steps.contains { $0.isByInvitedUser } }

  /// Nothing that needs more than the latest step 1 per step.
  var isPlain: Bool {
    order == .ordered && count == .users && exclusions.isEmpty && holdConstant.isEmpty
      && steps.allSatisfy { !$0.isOptional && !$0.isByInvitedUser }
      && (breakdown == nil || breakdownBy == .firstStep)
  }

  var labels: [String] { steps.map { $0.label.isEmpty ? $0.events.first ?? "" : $0.label } }

  /// The step that each step's conversion is counted from: the nearest one before that no chain leaves out.
  var previousSteps: [Int] {
    steps.indices.map { step in steps[..<step].lastIndex { !$0.isOptional } ?? 0 }
  }
}
