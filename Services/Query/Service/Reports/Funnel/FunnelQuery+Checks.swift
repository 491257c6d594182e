extension FunnelQuery {
  /// - Throws: INVALID_ARGUMENT, naming what is out of bounds or cannot be meant.
  func check() throws(QueryError) {
    try checkBounds()
    try checkSteps()
    try checkExclusions()
    let held = Limits.heldFieldsMax
    guard holdConstant.count <= held else {
      throw .invalid("hold_constant", "\(holdConstant.count) given, at most \(held)")
    }
    for (index, field) in holdConstant.enumerated() where holdConstant[..<index].contains(field) {
      throw .invalid("hold_constant[\(index)]", "names \"\(field.prefix(64))\" a second time")
    }
    guard breakdown != nil || breakdownBy == .firstStep else {
      throw .invalid("breakdown_by", "needs a breakdown")
    }
  }

  private func checkBounds() throws(QueryError) {
    let range = Limits.funnelStepsMin...Limits.funnelStepsMax
    guard range.contains(steps.count) else {
      throw .invalid(
        "steps", "\(steps.count) given, must be \(range.lowerBound)-\(range.upperBound)")
    }
    if let window = windowMilliseconds {
      guard (1...Limits.windowMillisecondsMax).contains(window) else {
        throw .invalid(
          "window_ms", "is \(window), must be 1-\(Limits.windowMillisecondsMax), or 0 for one day")
      }
    }
    guard (1...Limits.breakdownLimitMax).contains(breakdownLimit) else {
      throw .invalid(
        "breakdown_limit", "is \(breakdownLimit), must be 1-\(Limits.breakdownLimitMax)")
    }
  }

  private func checkSteps() throws(QueryError) {
    for (index, step) in steps.enumerated() where step.isOptional {
      let asked = "steps[\(index)].optional"
      guard index > 0, index < steps.count - 1 else {
        throw .invalid(asked, "neither the first nor the last step can be left out")
      }
      guard order != .any else { throw .invalid(asked, "with order ANY no step has to be done") }
    }
    for (index, step) in steps.enumerated() where step.isByInvitedUser {
      try checkInvited(index, "steps[\(index)].by_invited_user")
    }
  }

  private func checkInvited(_ index: Int, _ asked: String) throws(QueryError) {
    guard index > 0 else { throw .invalid(asked, "nobody invited whoever does the first step") }
    guard order == .ordered else { throw .invalid(asked, "needs order ORDERED") }
    guard count == .users else { throw .invalid(asked, "needs count USERS") }
    guard exclusions.isEmpty else { throw .invalid(asked, "not together with exclusions") }
    guard holdConstant.isEmpty else { throw .invalid(asked, "not together with hold_constant") }
    guard steps.allSatisfy({ !$0.isOptional }) else {
      throw .invalid(asked, "not together with an optional step")
    }
    guard breakdownBy != .lastStep else {
      throw .invalid("breakdown_by", "LAST_STEP is another user's where a step is by_invited_user")
    }
  }

  private func checkExclusions() throws(QueryError) {
    guard exclusions.count <= Limits.funnelExclusionsMax else {
      throw .invalid(
        "exclusions", "\(exclusions.count) given, at most \(Limits.funnelExclusionsMax)")
    }
    guard exclusions.isEmpty || order == .ordered else {
      throw .invalid(
        "exclusions",
        order == .strict
          ? "with order STRICT no other event lies between two steps anyway"
          : "with order ANY nothing lies between two given steps")
    }
    for (index, exclusion) in exclusions.enumerated() {
      guard let steps = exclusion.steps else { continue }
      guard steps.lowerBound >= 0, !steps.isEmpty, steps.upperBound < self.steps.count else {
        throw .invalid(
          "exclusions[\(index)]",
          """
          after_step is \(steps.lowerBound + 1), before_step \(steps.upperBound + 1), must be \
          1 <= after_step < before_step <= \(self.steps.count), or both 0
          """)
      }
    }
  }
}
