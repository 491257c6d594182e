import Events
import Messages

// Requests into questions.

func checkedBreakdownLimit(_ limit: UInt32) throws(QueryError) -> Int? {
  guard limit <= UInt32(Limits.breakdownLimitMax) else {
    throw .invalid("breakdown_limit", "is \(limit), must be 1-\(Limits.breakdownLimitMax)")
  }
  return limit == 0 ? nil : Int(limit)
}

extension DayRange {
  init(_ range: ProtoDateRange, field: String) throws(RuleViolation) {
    try self.init(begin: range.beginDate, end: range.endDate, field: field)
  }
}

extension Granularity {
  init(_ granularity: ProtoGranularity) throws(QueryError) {
    switch granularity {
    case .unspecified, .day: self = .day
    case .week: self = .week
    case .month: self = .month
    case .all: self = .all
    case .minute: self = .minute
    case .hour: self = .hour
    case .UNRECOGNIZED(let number): throw .invalid("granularity", "\(number) is not known")
    }
  }
}

extension TrafficChoice {
  init(_ channel: ProtoReleaseChannel, includesExcludedScenes: Bool) throws(QueryError) {
    switch channel {
    case .unspecified, .release: self.init(includesExcludedScenes: includesExcludedScenes)
    case .trial: self.init(channel: 2, includesExcludedScenes: includesExcludedScenes)
    case .develop: self.init(channel: 3, includesExcludedScenes: includesExcludedScenes)
    case .UNRECOGNIZED(let number): throw .invalid("release_channel", "\(number) is not known")
    }
  }
}

extension FilterTree {
  init(_ filter: ProtoFilter, asked: String, depth: Int = 1) throws(QueryError) {
    guard depth <= Limits.filterDepthMax else {
      throw .invalid(asked, "nested deeper than \(Limits.filterDepthMax)")
    }
    switch filter.kind {
    case .and(let group): self = .and(try Self.filters(group, asked, depth))
    case .or(let group): self = .or(try Self.filters(group, asked, depth))
    case .not(let part): self = .not(try FilterTree(part, asked: asked, depth: depth + 1))
    case .condition(let condition): self = .condition(try FilterCondition(condition, asked: asked))
    case nil: throw .invalid(asked, "is empty: one of and, or, not, condition is required")
    }
  }

  private static func filters(
    _ group: ProtoFilterGroup, _ asked: String, _ depth: Int
  ) throws(QueryError) -> [FilterTree] {
    var trees: [FilterTree] = []
    for filter in group.filters {
      trees.append(try FilterTree(filter, asked: asked, depth: depth + 1))
    }
    return trees
  }
}

extension FilterCondition {
  init(_ condition: ProtoCondition, asked: String) throws(QueryError) {
    let asked = "\(asked).condition"
    guard !condition.field.isEmpty else { throw .invalid("\(asked).field", "required") }
    var values: [FieldValue] = []
    for value in condition.values { values.append(try FieldValue(value, asked: "\(asked).values")) }
    self.init(
      condition.field, try FilterOperator(condition.operator, asked: "\(asked).operator"), values)
  }
}

extension FilterOperator {
  init(_ proto: ProtoOperator, asked: String) throws(QueryError) {
    switch proto {
    case .unspecified: throw .invalid(asked, "required")
    case .eq: self = .eq
    case .ne: self = .ne
    case .in: self = .in
    case .notIn: self = .notIn
    case .lt: self = .lt
    case .le: self = .le
    case .gt: self = .gt
    case .ge: self = .ge
    case .between: self = .between
    case .contains: self = .contains
    case .notContains: self = .notContains
    case .prefix: self = .prefix
    case .regex: self = .regex
    case .exists: self = .exists
    case .notExists: self = .notExists
    case .UNRECOGNIZED(let number): throw .invalid(asked, "\(number) is not known")
    }
  }
}

extension FieldValue {
  init(_ value: ProtoFieldValue, asked: String) throws(QueryError) {
    switch value.kind {
    case .stringValue(let text):
      guard text.utf8.count <= EventLimits.fieldTextBytesMax else {
        throw .invalid(
          asked, "a string of \(text.utf8.count) bytes, at most \(EventLimits.fieldTextBytesMax)")
      }
      self = .text(text)
    case .integerValue(let number): self = .integer(number)
    case .doubleValue(let number):
      guard number.isFinite else { throw .invalid(asked, "\(number) is not finite") }
      self = .double(number)
    case .booleanValue(let flag): self = .boolean(flag)
    case nil: throw .invalid(asked, "a value without a kind")
    }
  }
}

// Answers into responses.

extension ProtoFieldValue {
  init(_ value: FieldValue) {
    self.init()
    switch value {
    case .text(let text): stringValue = text
    case .integer(let number): integerValue = number
    case .double(let number): doubleValue = number
    case .boolean(let flag): booleanValue = flag
    }
  }
}

extension ProtoAnswerInfo {
  init(_ info: AnswerInfo) {
    self.init()
    asOfOffset = info.position.nextOffset
    asOfEventTimeMs = info.lastEventMilliseconds
    timeZone = info.timeZone
    definitionVersion = AnswerInfo.definitionVersion
    eventsRead = info.eventsRead
    complete = info.isComplete
    excluded = OmissionReason.allCases.compactMap { reason in
      guard let count = info.excluded[reason], count > 0 else { return nil }
      var excluded = ProtoExcludedEvents()
      excluded.reason = reason.rawValue
      excluded.events = count
      return excluded
    }
  }
}
