/// One of the numbers of a trend (SEMANTICS 2).
package enum TrendMetric: String, CaseIterable, Sendable {
  case visitTotal = "visit_total"
  case sessionCount = "session_cnt"
  case visitPageViews = "visit_pv"
  case visitUsers = "visit_uv"
  case visitNewUsers = "visit_uv_new"
  case sharePageViews = "share_pv"
  case shareUsers = "share_uv"
  case staySecondsPerUser = "stay_time_uv"
  case staySecondsPerSession = "stay_time_session"
  case visitDepth = "visit_depth"
  case eventCount = "event_cnt"

  static let all = Set(allCases)
  /// What is known of whole days without their events.
  static let ofUsers: Set<TrendMetric> = [.visitTotal, .visitUsers, .visitNewUsers]
}

extension Set<TrendMetric> {
  /// In the order of the report.
  var names: [String] { TrendMetric.allCases.filter(contains).map(\.rawValue) }

  /// - Parameter names: none: all.
  /// - Throws: INVALID_ARGUMENT for a name that is no metric, or that comes twice.
  init(asked names: [String]) throws(QueryError) {
    var found: Set<TrendMetric> = []
    for name in names {
      guard let metric = TrendMetric(rawValue: name) else {
        throw .invalid(
          "metrics",
          "\"\(name.prefix(64))\" is no metric of a trend: \(TrendMetric.all.names.joined(separator: ", "))")
      }
      guard found.insert(metric).inserted else { throw .invalid("metrics", "\(name) is there twice") }
    }
    self = names.isEmpty ? TrendMetric.all : found
  }
}
