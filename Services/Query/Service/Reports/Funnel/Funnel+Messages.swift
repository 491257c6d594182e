import Events
import Messages

extension ProtoGetFunnelRequest: ReportRequest {
  var breakdownFields: [String] { [breakdown] }

  func answer(
    _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> ProtoGetFunnelResponse {
    ProtoGetFunnelResponse(try engine.funnel(FunnelQuery(self, appID: appID), control: control))
  }
}

extension FunnelQuery {
  init(_ request: ProtoGetFunnelRequest, appID: String) throws {
    let window = request.windowMs == 0 ? Limits.windowMillisecondsDefault : request.windowMs
    self.init(
      appID: appID, days: try DayRange(request.range, field: "range").days,
      steps: try request.steps.enumerated().map { try Step($1, index: $0) },
      windowMilliseconds: request.wholeRange ? nil : window,
      breakdown: request.breakdown.isEmpty ? nil : request.breakdown,
      breakdownLimit: try checkedBreakdownLimit(request.breakdownLimit),
      traffic: try TrafficChoice(
        request.releaseChannel, includesExcludedScenes: request.includeExcludedScenes))
    if request.hasCompareRange {
      compareDays = try DayRange(request.compareRange, field: "compare_range").days
    }
    order = try Order(request.order)
    count = try Count(request.count)
    breakdownBy = try BreakdownBy(request.breakdownBy)
    exclusions = try request.exclusions.enumerated().map { try Exclusion($1, index: $0) }
    holdConstant = request.holdConstant
    if request.hasFilter { filter = try FilterTree(request.filter, asked: "filter") }
  }
}

extension FunnelQuery.Step {
  init(_ step: ProtoFunnelStep, index: Int) throws {
    let filter = step.hasFilter ? try FilterTree(step.filter, asked: "steps[\(index)].filter") : nil
    self.init(
      step.events, filter: filter, label: step.label, isOptional: step.optional,
      isByInvitedUser: step.byInvitedUser)
  }
}

extension FunnelQuery.Exclusion {
  init(_ exclusion: ProtoFunnelExclusion, index: Int) throws {
    let asked = "exclusions[\(index)]"
    let filter =
      exclusion.hasFilter ? try FilterTree(exclusion.filter, asked: "\(asked).filter") : nil
    let (after, before) = (Int(exclusion.afterStep), Int(exclusion.beforeStep))
    if after == 0, before == 0 {
      self.init(exclusion.events, filter: filter)
      return
    }
    guard 1 <= after, after < before else {
      throw QueryError.invalid(
        asked, "after_step is \(after), before_step \(before): both 0 for the whole chain, or 1 <= after_step < before_step <= number of steps")
    }
    self.init(exclusion.events, filter: filter, steps: after - 1..<before - 1)
  }
}

extension FunnelQuery.Order {
  init(_ order: ProtoFunnelOrder) throws(QueryError) {
    switch order {
    case .unspecified, .ordered: self = .ordered
    case .strict: self = .strict
    case .any: self = .any
    case .UNRECOGNIZED(let number): throw .invalid("order", "\(number) is not known")
    }
  }
}

extension FunnelQuery.Count {
  init(_ count: ProtoFunnelCount) throws(QueryError) {
    switch count {
    case .unspecified, .users: self = .users
    case .opens: self = .opens
    case .entries: self = .entries
    case .UNRECOGNIZED(let number): throw .invalid("count", "\(number) is not known")
    }
  }
}

extension FunnelQuery.BreakdownBy {
  init(_ by: ProtoFunnelBreakdownBy) throws(QueryError) {
    switch by {
    case .unspecified, .firstStep: self = .firstStep
    case .lastStep: self = .lastStep
    case .userFirstTouch: self = .userFirstTouch
    case .userLastTouch: self = .userLastTouch
    case .UNRECOGNIZED(let number): throw .invalid("breakdown_by", "\(number) is not known")
    }
  }
}

extension ProtoGetFunnelResponse {
  init(_ answer: FunnelAnswer) {
    self.init()
    steps = answer.steps.map(ProtoFunnelStepResult.init)
    breakdown = answer.breakdown.map { group in
      var proto = ProtoFunnelBreakdown()
      if let value = group.value { proto.value = ProtoFieldValue(value) }
      proto.other = group.isOther
      proto.steps = group.steps.map(ProtoFunnelStepResult.init)
      return proto
    }
    compareSteps = answer.compareSteps.map(ProtoFunnelStepResult.init)
    info = ProtoAnswerInfo(answer.info)
  }
}

extension ProtoFunnelStepResult {
  init(_ step: FunnelStepResult) {
    self.init()
    label = step.label
    users = step.users
    conversionFromPrevious = step.conversionFromPrevious
    conversionFromFirst = step.conversionFromFirst
    dropOffUsers = step.dropOffUsers
    dropOffShare = step.dropOffShare
    meanFromPreviousMs = step.fromPrevious.mean
    medianFromPreviousMs = step.fromPrevious.median
    p90FromPreviousMs = step.fromPrevious.p90
    meanFromFirstMs = step.fromFirst.mean
    medianFromFirstMs = step.fromFirst.median
    p90FromFirstMs = step.fromFirst.p90
  }
}

// MARK: Users

extension ProtoGetFunnelRequest: UserListing {
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList {
    let query = try FunnelQuery(self, appID: appID)
    guard query.count == .users else {
      throw QueryError.invalid("cell.metric", "the funnel counts \(query.count.rawValue), not users")
    }
    let run = try FunnelRun(query, engine: engine, control: control)
    let (users, info) = try run.users(FunnelCell(cell, steps: query.steps.count))
    guard let users else {
      throw QueryError.invalid(
        cell.other ? "cell.other" : "cell.group", "the answer has no such value of a breakdown")
    }
    return UserList(users: users, app: run.snapshot.app, info: info)
  }
}

extension FunnelCell {
  init(_ cell: ProtoUserCell, steps: Int) throws(QueryError) {
    guard cell.metric == "users" else {
      throw .invalid("cell.metric", "is \"\(cell.metric.prefix(64))\", a funnel has users")
    }
    guard cell.refDate.isEmpty else { throw .invalid("cell.ref_date", "a funnel has none") }
    guard cell.nodes.isEmpty else { throw .invalid("cell.nodes", "a funnel has none") }
    guard cell.index.isEmpty else { throw .invalid("cell.index", "a funnel has none") }
    guard (1...UInt32(steps)).contains(cell.key) else {
      throw .invalid("cell.key", "is \(cell.key), must be a step, 1-\(steps)")
    }
    guard !cell.droppedOff || cell.key > 1 else {
      throw .invalid("cell.dropped_off", "nobody can drop off before step 1")
    }
    guard cell.group.count <= 1, cell.group.isEmpty || !cell.other else {
      throw .invalid("cell.group", "one value at most, and none with other")
    }
    var group = Group.all
    if cell.other { group = .other }
    if let value = cell.group.first {
      group = .value(value.hasValue ? try FieldValue(value.value, asked: "cell.group") : nil)
    }
    self.init(step: Int(cell.key) - 1, droppedOff: cell.droppedOff, group: group)
  }
}

// MARK: CSV

extension ProtoGetFunnelResponse: CSVReport {
  var csvColumns: [String] {
    [
      "series", "value", "step", "label", "users", "conversion_from_previous",
      "conversion_from_first", "drop_off_users", "drop_off_share", "mean_from_previous_ms",
      "median_from_previous_ms", "p90_from_previous_ms", "mean_from_first_ms",
      "median_from_first_ms", "p90_from_first_ms",
    ]
  }

  /// `series` is `steps`, `compare_steps`, `breakdown` or `other`.
  var csvRows: [[CSVCell?]] {
    Self.rows("steps", nil, steps) + Self.rows("compare_steps", nil, compareSteps)
      + breakdown.flatMap { group in
        Self.rows(
          group.other ? "other" : "breakdown", CSVCell(group.value),
          group.steps)
      }
  }

  private static func rows(
    _ series: String, _ value: CSVCell?, _ steps: [ProtoFunnelStepResult]
  ) -> [[CSVCell?]] {
    steps.enumerated().map { index, step in
      [
        .text(series), value, .integer(Int64(index + 1)), .text(step.label),
        .integer(Int64(step.users)), .number(step.conversionFromPrevious),
        .number(step.conversionFromFirst), .integer(Int64(step.dropOffUsers)),
        .number(step.dropOffShare), .number(step.meanFromPreviousMs),
        .number(step.medianFromPreviousMs), .number(step.p90FromPreviousMs),
        .number(step.meanFromFirstMs), .number(step.medianFromFirstMs),
        .number(step.p90FromFirstMs),
      ]
    }
  }
}
