import Events

/// How do opens spread over sources, stays and depths? (SEMANTICS 2, "distribution keys")
package struct VisitDistributionQuery: Sendable {
  package var appID: String
  package var days: ClosedRange<Int>
  package var compareDays: ClosedRange<Int>?
  /// Of an open's first event.
  package var filter: FilterTree?
  package var traffic: TrafficChoice

  package init(
    appID: String, days: ClosedRange<Int>, compareDays: ClosedRange<Int>? = nil,
    filter: FilterTree? = nil, traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.compareDays = compareDays
    self.filter = filter
    self.traffic = traffic
  }
}

/// What opens are spread over, as WeChat's data API calls it.
package enum DistributionIndex: String, Sendable, CaseIterable {
  case source = "access_source_session_cnt"
  case stay = "access_staytime_info"
  case depth = "access_depth_info"

  /// Upper bounds of the keys 1-7 in whole seconds; the key 8 is more.
  static let stayBounds: [Int64] = [2, 5, 10, 20, 30, 50, 100]

  static func stayKey(_ milliseconds: Int64) -> Int {
    let seconds = milliseconds / 1_000
    for (index, bound) in stayBounds.enumerated() where seconds <= bound { return index + 1 }
    return stayBounds.count + 1
  }

  /// The same without a branch or a division.
  @inline(__always)
  static func stayKey(_ milliseconds: UInt32) -> Int {
    // Whole seconds are at most the bound where there are less ms than of the second behind it.
    func isBeyond(_ bound: UInt32) -> Int { milliseconds >= (bound + 1) * 1_000 ? 1 : 0 }
    return 1 + isBeyond(2) + isBeyond(5) + isBeyond(10) + isBeyond(20) + isBeyond(30) + isBeyond(50)
      + isBeyond(100)
  }

  /// 1-5 pages have keys of their own, 6 is 6-10, 7 more; 0: an open without a page.
  static func depthKey(_ pages: Int) -> Int {
    switch pages {
    case ...5: pages
    case ...10: 6
    default: 7
    }
  }

  /// The keys that are answered even where no open has them.
  var alwaysShown: ClosedRange<Int>? {
    switch self {
    case .source: nil
    case .stay: 1...8
    case .depth: 1...7
    }
  }

  /// All keys. 0 of a source: the open's first event has no scene.
  var keys: ClosedRange<Int> {
    switch self {
    case .source: 0...SourceKey.all.upperBound
    case .stay: 1...8
    case .depth: 0...7
    }
  }

  /// For people.
  func name(_ key: Int) -> String {
    switch self {
    case .source: key == 0 ? "unknown" : SourceKey.name(key)?.english ?? ""
    case .stay:
      ["0-2 s", "3-5 s", "6-10 s", "11-20 s", "21-30 s", "31-50 s", "51-100 s", "over 100 s"][key - 1]
    case .depth:
      [
        "no page", "1 page", "2 pages", "3 pages", "4 pages", "5 pages", "6-10 pages",
        "more than 10 pages",
      ][key]
    }
  }

  /// Where its keys stand among those of all three.
  var firstSlot: Int {
    switch self {
    case .source: 0
    case .stay: 64
    case .depth: 80
    }
  }

  static let slotCount = 96
}

package struct DistributionItem: Sendable, Equatable {
  package let key: Int
  package let sessionCount: UInt64
  package let visitUsers: UInt64
}

package struct VisitDistribution: Sendable, Equatable {
  package let index: DistributionIndex
  /// By key.
  package let items: [DistributionItem]
}

package struct VisitDistributionAnswer: Sendable, Equatable {
  package let distributions: [VisitDistribution]
  package let compareDistributions: [VisitDistribution]
  package let info: AnswerInfo
}

extension QueryEngine {
  package func visitDistribution(
    _ query: VisitDistributionQuery, control: QueryControl
  ) throws -> VisitDistributionAnswer {
    try VisitDistributionRun(query, self, control).answer()
  }

  /// The users with an open of a key: codes, ascending.
  package func visitDistributionUsers(
    _ query: VisitDistributionQuery, _ index: DistributionIndex, key: Int, control: QueryControl
  ) throws -> UserList {
    try VisitDistributionRun(query, self, control).users(index, key)
  }
}

private struct VisitDistributionRun {
  let query: VisitDistributionQuery
  let scope: ReportScope

  init(_ query: VisitDistributionQuery, _ engine: QueryEngine, _ control: QueryControl) throws {
    self.query = query
    scope = try ReportScope(
      query.appID, engine, filter: query.filter, traffic: query.traffic, control: control,
      contexts: [SceneExclusion.column])
  }

  func answer() throws -> VisitDistributionAnswer {
    let main = try scan(query.days)
    let compared = try query.compareDays.map { try scan($0) }
    return VisitDistributionAnswer(
      distributions: distributions(main.counts),
      compareDistributions: compared.map { distributions($0.counts) } ?? [],
      info: scope.info(main.tally, query.days, query.compareDays))
  }

  func users(_ index: DistributionIndex, _ key: Int) throws -> UserList {
    let found = try scan(query.days, wanted: index.firstSlot + key)
    return UserList(
      users: found.counts.users.sorted(), app: scope.snapshot.app,
      info: scope.info(found.tally, query.days))
  }

  private func scan(
    _ days: ClosedRange<Int>, wanted: Int? = nil
  ) throws -> (counts: DistributionCounts, tally: EventTally) {
    let marker = DayMarker(scope.filter, scope.traffic)
    let sources = SourceKeyTable(scope.snapshot.definition.sources.scenes)
    var walk = OpenWalk<DistributionVisitor>(
      source: scope.source, days: days, control: scope.control,
      prepare: { day, place in
        let scenes = day.contextColumn(SceneExclusion.column)
        return DistributionMarks(
          day: marker.marks(day, place),
          sources: Scratch(scenes.map { UInt8(sources.key(Int($0))) }))
      },
      make: { DistributionVisitor($0, wanted: wanted) })
    walk.bytesPerUser = DistributionVisitor.bytesPerUser
    walk.takesWholeOpens = true
    walk.markBytesPerRow = scope.maskBytesPerRow
    return (try walk.run(), marker.tally)
  }

  private func distributions(_ counts: DistributionCounts) -> [VisitDistribution] {
    DistributionIndex.allCases.map { index in
      let items = index.keys.compactMap { key -> DistributionItem? in
        let slot = index.firstSlot + key
        let opens = counts.opens.isEmpty ? 0 : counts.opens[slot]
        let isShown = opens > 0 || index.alwaysShown?.contains(key) ?? false
        guard isShown else { return nil }
        return DistributionItem(
          key: key, sessionCount: opens, visitUsers: opens == 0 ? 0 : counts.visitUsers[slot])
      }
      return VisitDistribution(index: index, items: items)
    }
  }
}

/// The source keys of scenes, for hot loops.
struct SourceKeyTable: Sendable {
  private static let scenesMax = 1 << 16
  private let keys: Scratch<UInt8>
  /// Overrides may name codes that are beyond any platform's.
  private let rest: [Int: Int]

  init(_ scenes: SceneTable) {
    let codes = scenes.scenes.map(\.code).filter { (0..<Self.scenesMax).contains($0) }
    let keys = Scratch<UInt8>(repeating: UInt8(SourceKey.other), count: (codes.max() ?? 0) + 1)
    var rest: [Int: Int] = [:]
    for scene in scenes.scenes {
      // A key that the table of sources does not have is no key.
      let key = SourceKey.all.contains(scene.sourceKey) ? scene.sourceKey : SourceKey.other
      if (0..<Self.scenesMax).contains(scene.code) {
        keys[scene.code] = UInt8(key)
      } else {
        rest[scene.code] = key
      }
    }
    keys[0] = 0
    self.keys = keys
    self.rest = rest
  }

  /// - Parameter scene: as a context's column holds it. 0 gives 0: no source.
  @inline(__always)
  func key(_ scene: Int) -> Int {
    if scene < keys.count { return Int(keys.pointer[scene]) }
    return rest.isEmpty ? SourceKey.other : rest[scene] ?? SourceKey.other
  }
}
