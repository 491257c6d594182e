import Events
import LiveStats
import Messages

/// What live-stats must answer, counted in the plainest way.
struct LiveReference {
  let facts: [Fact]
  let rules: SessionRules

  func isExcluded(_ fact: Fact) -> Bool {
    fact.channel == .trial || fact.channel == .develop
      || SceneTable.wechat.isExcluded(Int(fact.scene))
  }

  private var counted: [Fact] { facts.filter { !isExcluded($0) } }

  func excluded(_ minutes: Range<Int64>) -> Int {
    facts.filter { isExcluded($0) && minutes.contains($0.time / 60_000) }.count
  }

  /// Beginning and first visited page of every open.
  var opens: [(time: Int64, page: String)] {
    var opens: [(time: Int64, page: String)] = []
    for (_, events) in Dictionary(grouping: counted.filter { !$0.isPassive }, by: \.user) {
      var cutter = OpenCutter()
      var own: [(time: Int64, page: String)] = []
      for event in events.sorted(by: { ($0.time, $0.sequence) < ($1.time, $1.sequence) }) {
        let kind: OpenCutter.Kind =
          switch event.name {
          case "$launch": .launch
          case "$foreground": .foreground
          case "$background": .background
          default: .other
          }
        if cutter.begins(kind, at: event.time, rules: rules) { own.append((event.time, "")) }
        if event.name == "$page_view", own[own.count - 1].page.isEmpty {
          own[own.count - 1].page = event.page
        }
      }
      opens += own
    }
    return opens
  }

  func series(_ range: SeriesRange, page: String = "") -> [LivePoint] {
    let opens = opens
    return (0..<range.bucketCount).map { index in
      let first = range.firstMinute + Int64(index) * range.bucketMinutes
      let minutes = first..<(first + range.bucketMinutes)
      let events = counted.filter {
        minutes.contains($0.time / 60_000) && (page.isEmpty || $0.page == page)
      }
      var point = LivePoint(beginMinute: first)
      point.events = UInt64(events.count)
      point.visits = UInt64(events.filter { $0.name == "$page_view" }.count)
      point.users = UInt64(
        Set(
          events.filter { !$0.isPassive && (page.isEmpty || $0.name == "$page_view") }
            .map(\.user)
        ).count)
      point.opens = UInt64(
        opens.filter {
          minutes.contains($0.time / 60_000) && (page.isEmpty || $0.page == page)
        }.count)
      return point
    }
  }

  func pages(_ minutes: Range<Int64>) -> [LivePage] {
    let visits = counted.filter {
      $0.name == "$page_view" && !$0.page.isEmpty && minutes.contains($0.time / 60_000)
    }
    return Dictionary(grouping: visits, by: \.page).map { page, visits in
      LivePage(
        path: page, visits: UInt64(visits.count),
        users: UInt64(Set(visits.filter { !$0.isPassive }.map(\.user)).count))
    }.sorted { $0.visits != $1.visits ? $0.visits > $1.visits : $0.path < $1.path }
  }
}
