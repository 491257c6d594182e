import Query
import TestKit

/// A random filter, and what it means for one event, said another way than the engine says it.
enum RandomFilters {
  /// - Parameter isOfContext: only the context is asked for.
  static func tree(
    _ random: inout SeededRandom, depth: Int = 0, isOfContext: Bool = false
  ) -> FilterTree {
    func part() -> FilterTree { tree(&random, depth: depth + 1, isOfContext: isOfContext) }
    return switch random.below(depth > 2 ? 1 : 5) {
    case 1: .and((0...random.below(3)).map { _ in part() })
    case 2: .or((0...random.below(3)).map { _ in part() })
    case 3: .not(part())
    default: .condition(isOfContext ? ofContext(&random) : condition(&random))
    }
  }

  private static func ofContext(_ random: inout SeededRandom) -> FilterCondition {
    switch random.below(3) {
    case 0: number(random.pick(["age", "scene"]), [.integer(17), .integer(30), .integer(1011)], &random)
    case 1: FilterCondition(random.pick(["platform", "province"]), random.pick([.exists, .notExists]))
    default: text(random.pick(["platform", "province"]), &random)
    }
  }

  private static func condition(_ random: inout SeededRandom) -> FilterCondition {
    switch random.below(4) {
    case 0: number(random.pick(["age", "scene"]), [.integer(17), .integer(30), .integer(1011)], &random)
    case 1: FilterCondition(random.pick(["platform", "province"]), random.pick([.exists, .notExists]))
    default: text(random.pick(["platform", "province", "event", "page_path", "open_id"]), &random)
    }
  }

  private static func number(
    _ field: String, _ values: [FieldValue], _ random: inout SeededRandom
  ) -> FilterCondition {
    let filterOperator = random.pick([FilterOperator.eq, .ne, .lt, .le, .gt, .ge, .in, .notIn])
    let count = filterOperator == .in || filterOperator == .notIn ? 2 : 1
    return FilterCondition(field, filterOperator, (0..<count).map { _ in random.pick(values) })
  }

  private static func text(_ field: String, _ random: inout SeededRandom) -> FilterCondition {
    let filterOperator = random.pick([
      FilterOperator.eq, .ne, .in, .notIn, .contains, .notContains, .prefix, .regex,
    ])
    let words: [String] =
      switch filterOperator {
      case .contains, .notContains, .prefix: ["s", "pages/", "an", "user", "$page", "北"]
      case .regex: ["^pages/[ab]$", "io|er", "^\\$page_(view|leave)$", "user[0-2]", "京"]
      default: ["ios", "android", "四川", "Bern", "$page_view", "catalog", "pages/a", "user1"]
      }
    let count = filterOperator == .in || filterOperator == .notIn ? 3 : 1
    return FilterCondition(field, filterOperator, (0..<count).map { _ in .text(random.pick(words)) })
  }

  // MARK: What it means

  static func matches(_ tree: FilterTree, _ event: ReferenceEvent) -> Bool {
    switch tree {
    case .and(let parts): parts.allSatisfy { matches($0, event) }
    case .or(let parts): parts.contains { matches($0, event) }
    case .not(let part): !matches(part, event)
    case .condition(let condition): matches(condition, event.value(condition.field))
    }
  }

  private static func matches(_ condition: FilterCondition, _ value: ReferenceValue?) -> Bool {
    let asked = condition.values.map(reference)
    switch condition.filterOperator {
    case .exists: return value != nil
    case .notExists: return value == nil
    case .eq, .in: return value.map { asked.contains($0) } ?? false
    case .ne, .notIn: return value.map { !asked.contains($0) } ?? true
    case .contains: return text(value).map { $0.contains(text(asked[0]) ?? "") } ?? false
    case .notContains: return text(value).map { !$0.contains(text(asked[0]) ?? "") } ?? true
    case .prefix: return text(value).map { $0.hasPrefix(text(asked[0]) ?? "") } ?? false
    case .regex:
      guard let pattern = try? Regex(text(asked[0]) ?? ""), let value = text(value) else { return false }
      return value.firstMatch(of: pattern) != nil
    case .lt: return number(value).map { $0 < (number(asked[0]) ?? 0) } ?? false
    case .le: return number(value).map { $0 <= (number(asked[0]) ?? 0) } ?? false
    case .gt: return number(value).map { $0 > (number(asked[0]) ?? 0) } ?? false
    case .ge: return number(value).map { $0 >= (number(asked[0]) ?? 0) } ?? false
    case .between: return false
    }
  }

  private static func text(_ value: ReferenceValue?) -> String? {
    if case .text(let text)? = value { text } else { nil }
  }

  private static func number(_ value: ReferenceValue?) -> Double? {
    switch value {
    case .integer(let number)?: Double(number)
    case .double(let number)?: number
    default: nil
    }
  }

  static func reference(_ value: FieldValue) -> ReferenceValue {
    switch value {
    case .text(let text): .text(text)
    case .integer(let number): .integer(number)
    case .double(let number): .double(number)
    case .boolean(let flag): .boolean(flag)
    }
  }
}
