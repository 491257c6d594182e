/// One number of an event analysis (SEMANTICS 5) from the events that match.
package enum ReferenceAnalysis {
  /// - Parameters:
  ///   - metric: `total`, `users`, `per_user`, `sum`, `avg`, `min`, `max`, `p50` ..., `distinct`.
  ///   - values: of the field, one per matching event; nil: missing.
  package static func value(
    _ metric: String, _ events: [ReferenceEvent], _ values: [ReferenceValue?]
  ) -> Double? {
    let users = Double(Set(events.map(\.user)).count)
    let numbers = values.compactMap(number).sorted()
    switch metric {
    case "total": return Double(events.count)
    case "users": return users
    case "per_user": return users == 0 ? nil : Double(events.count) / users
    case "sum": return numbers.reduce(0, +)
    case "avg": return numbers.isEmpty ? nil : numbers.reduce(0, +) / Double(numbers.count)
    case "min": return numbers.first
    case "max": return numbers.last
    case "distinct": return Double(Set(values.compactMap { $0 }).count)
    default: return Double(metric.dropFirst()).flatMap { quantile($0 / 100, numbers) }
    }
  }

  package static func number(_ value: ReferenceValue?) -> Double? {
    switch value {
    case .integer(let number)?: Double(number)
    case .double(let number)?: number
    default: nil
    }
  }

  /// Hyndman and Fan, type 7: the n numbers lie at 0, 1 / (n - 1), 2 / (n - 1) ... 1; between them on straight lines.
  package static func quantile(_ share: Double, _ sorted: [Double]) -> Double? {
    guard let last = sorted.last else { return nil }
    if sorted.count == 1 { return last }
    let place = share * Double(sorted.count - 1)
    for index in sorted.indices.dropLast() where place <= Double(index + 1) {
      return sorted[index] + (place - Double(index)) * (sorted[index + 1] - sorted[index])
    }
    return last
  }
}
