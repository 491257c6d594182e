import Events
import Messages
import UserProfile

/// What user-profile must answer, counted in the plainest way.
struct ProfileReference {
  struct User: Equatable {
    var first: Int64
    var last: Int64
    var opens: Int
    var pageViews: Int
    var events: Int
    var days: Int
    var gender: String
    var province: String
    var page: String
    var excluded: Int
  }

  let facts: [Fact]
  let rules: SessionRules
  let day: (Int64) -> Int32

  private func reason(_ fact: Fact) -> ExclusionReason? {
    if SceneTable.wechat.isExcluded(Int(fact.scene)) { return .scene }
    return fact.channel == .trial || fact.channel == .develop ? .releaseChannel : nil
  }

  /// One user's events that count, in order.
  private func events(_ user: String) -> [Fact] {
    facts.filter { $0.user == user && reason($0) == nil }
      .sorted { ($0.time, $0.sequence) < ($1.time, $1.sequence) }
  }

  func user(_ name: String) -> User? {
    guard facts.contains(where: { $0.user == name }) else { return nil }
    let events = events(name)
    let active = events.filter { !$0.isPassive }
    var cutter = OpenCutter()
    var opens = 0
    for event in active {
      let kind: OpenCutter.Kind =
        switch event.name {
        case "$launch": .launch
        case "$foreground": .foreground
        case "$background": .background
        default: .other
        }
      if cutter.begins(kind, at: event.time, rules: rules) { opens += 1 }
    }
    return User(
      first: active.first?.time ?? 0, last: active.last?.time ?? 0, opens: opens,
      pageViews: events.filter { $0.name == "$page_view" }.count, events: events.count,
      days: Set(active.map { day($0.time) }).count, gender: latest(events, \.gender),
      province: latest(events, \.province), page: latest(events, \.page),
      excluded: facts.filter { $0.user == name && reason($0) != nil }.count)
  }

  private func latest(_ events: [Fact], _ field: (Fact) -> String) -> String {
    events.last { !field($0).isEmpty }.map(field) ?? ""
  }

  func portrait(_ days: ClosedRange<Int32>, new: Bool) -> RawPortrait {
    var portrait = RawPortrait()
    portrait.groups = [.gender: [:], .province: [:]]
    for name in Set(facts.map(\.user)) {
      let active = events(name).filter { !$0.isPassive }.map { day($0.time) }
      guard let first = active.min(),
        new ? days.contains(first) : active.contains(where: days.contains)
      else { continue }
      portrait.users += 1
      portrait.groups[.gender]?[latest(events(name), \.gender), default: 0] += 1
      portrait.groups[.province]?[latest(events(name), \.province), default: 0] += 1
    }
    return portrait
  }

  func totals(_ days: ClosedRange<Int32>) -> DayTotals {
    let asked = facts.filter { days.contains(day($0.time)) }
    var totals = DayTotals()
    for fact in asked {
      if let reason = reason(fact) { totals.excluded.count(reason) } else { totals.events += 1 }
    }
    return totals
  }
}
