import Events

/// Which pages are visited, for how long, and where do opens begin and end? (SEMANTICS 2, "Per page")
package struct PagesQuery: Sendable {
  package enum Order: Sendable, CaseIterable {
    case visits, entries, exits, heat, users, stay, shares
  }

  package var appID: String
  package var days: ClosedRange<Int>
  package var compareDays: ClosedRange<Int>?
  package var filter: FilterTree?
  package var order: Order
  /// 1-10,000.
  package var limit: Int
  package var offset: Int
  package var traffic: TrafficChoice

  package init(
    appID: String, days: ClosedRange<Int>, compareDays: ClosedRange<Int>? = nil,
    filter: FilterTree? = nil, order: Order = .visits, limit: Int? = nil, offset: Int = 0,
    traffic: TrafficChoice = TrafficChoice()
  ) {
    self.appID = appID
    self.days = days
    self.compareDays = compareDays
    self.filter = filter
    self.order = order
    self.limit = limit ?? Limits.pagesDefault
    self.offset = offset
    self.traffic = traffic
  }
}

/// The metrics of a page, or of all together; sums rather than quotients.
package struct PageMetrics: Sendable, Equatable, BitwiseCopyable {
  package var visits: UInt64 = 0
  package var users: UInt64 = 0
  package var stayMilliseconds: Int64 = 0
  package var entries: UInt64 = 0
  package var exits: UInt64 = 0
  package var shares: UInt64 = 0
  package var shareUsers: UInt64 = 0
  /// Opens that begin here and have exactly one page visit.
  package var bounces: UInt64 = 0
  /// What bounces are a share of: of a page its entries, of all pages together the opens.
  package var bounceable: UInt64 = 0

  package init() {}

  /// Seconds per visit.
  package var staySecondsPerVisit: Double {
    visits == 0 ? 0 : Double(stayMilliseconds) / 1_000 / Double(visits)
  }
  package var exitRate: Double { visits == 0 ? 0 : Double(exits) / Double(visits) }
  package var bounceRate: Double { bounceable == 0 ? 0 : Double(bounces) / Double(bounceable) }
  /// Visits times stay: the seconds spent.
  package var heat: Double { Double(stayMilliseconds) / 1_000 }

  /// Adds what was counted of other users.
  mutating func add(_ other: PageMetrics) {
    visits += other.visits
    users += other.users
    stayMilliseconds += other.stayMilliseconds
    entries += other.entries
    exits += other.exits
    shares += other.shares
    shareUsers += other.shareUsers
    bounces += other.bounces
    bounceable += other.bounceable
  }

  var isNothing: Bool { visits == 0 && entries == 0 && exits == 0 && shares == 0 }

  /// What an order goes by.
  func rank(_ order: PagesQuery.Order) -> Double {
    switch order {
    case .visits: Double(visits)
    case .entries: Double(entries)
    case .exits: Double(exits)
    case .heat: heat
    case .users: Double(users)
    case .stay: staySecondsPerVisit
    case .shares: Double(shares)
    }
  }
}

package struct PageRow: Sendable, Equatable {
  /// Empty: events without a page.
  package let path: String
  package let metrics: PageMetrics
  package let compare: PageMetrics?
}

package struct PagesAnswer: Sendable, Equatable {
  package let rows: [PageRow]
  package let total: PageMetrics
  package let compareTotal: PageMetrics?
  package let pageCount: Int
  package let info: AnswerInfo
}

/// Which users of a page are listed.
package enum PageUsers: Sendable, Equatable {
  case visitors, sharers
}

extension QueryEngine {
  package func pages(_ query: PagesQuery, control: QueryControl) throws -> PagesAnswer {
    try PagesRun(query, self, control).answer()
  }

  /// - Parameter path: nil: of any page; empty: of none.
  package func pagesUsers(
    _ query: PagesQuery, _ kind: PageUsers, path: String?, control: QueryControl
  ) throws -> UserList {
    try PagesRun(query, self, control).users(kind, path)
  }
}

private struct PagesRun {
  let query: PagesQuery
  let scope: ReportScope
  /// One more than the highest code of a page.
  let pageCodes: Int

  init(_ query: PagesQuery, _ engine: QueryEngine, _ control: QueryControl) throws {
    guard (1...Limits.pagesMax).contains(query.limit) else {
      throw QueryError.invalid("limit", "is \(query.limit), must be 1-\(Limits.pagesMax)")
    }
    self.query = query
    scope = try ReportScope(
      query.appID, engine, filter: query.filter, traffic: query.traffic, control: control,
      columns: [.event, .page, .time])
    pageCodes = scope.snapshot.pageCount
  }

  func answer() throws -> PagesAnswer {
    let main = try scan(query.days)
    let compared = try query.compareDays.map { try scan($0) }
    let codes = main.counts.pages.indices.filter { !main.counts.pages[$0].isNothing }
    let rows = scope.control.operation("rank", rows: codes.count) {
      ranked(codes, main.counts.pages).map { code, path in
        PageRow(
          path: path, metrics: main.counts.pages[code],
          compare: compared.map { $0.counts.pages.isEmpty ? PageMetrics() : $0.counts.pages[code] })
      }
    }
    return PagesAnswer(
      rows: rows, total: main.counts.total, compareTotal: compared?.counts.total,
      pageCount: codes.count, info: scope.info(main.tally, query.days, query.compareDays))
  }

  /// The largest first, ties by path.
  private func ranked(_ codes: [Int], _ pages: [PageMetrics]) -> [(code: Int, path: String)] {
    let paths = scope.snapshot.app.texts(.pages, codes.map(UInt32.init))
    let ranked = zip(codes, paths).map { (code: $0, path: $1, rank: pages[$0].rank(query.order)) }
      .sorted { $0.rank != $1.rank ? $0.rank > $1.rank : $0.path < $1.path }
    return ranked.dropFirst(query.offset).prefix(query.limit).map { ($0.code, $0.path) }
  }

  func users(_ kind: PageUsers, _ path: String?) throws -> UserList {
    var code: Int?
    if let path {
      guard let known = scope.snapshot.app.code(.pages, of: path), known < pageCodes else {
        throw QueryError.invalid("cell.nodes", "no page \"\(path.prefix(64))\" has been seen")
      }
      code = Int(known)
    }
    let found = try scan(query.days, wanted: .init(kind: kind, page: code))
    return UserList(
      users: found.counts.users.sorted(), app: scope.snapshot.app,
      info: scope.info(found.tally, query.days))
  }

  private func scan(
    _ days: ClosedRange<Int>, wanted: PageVisitor.Wanted? = nil
  ) throws -> (counts: PageCounts, tally: EventTally) {
    let marker = DayMarker(scope.filter, scope.traffic)
    let pageCodes = pageCodes
    try scope.control.charge(
      pageCodes * MemoryLayout<PageMetrics>.stride * 4, for: "the counts of each page")
    defer { scope.control.release(pageCodes * MemoryLayout<PageMetrics>.stride * 4) }
    var walk = OpenWalk<PageVisitor>(
      source: scope.source, days: days, control: scope.control,
      prepare: { marker.marks($0, $1) },
      make: { PageVisitor($0, pageCodes: pageCodes, wanted: wanted) })
    walk.bytesPerUser = PageVisitor.bytesPerUser(pageCodes)
    walk.takesWholeOpens = true
    walk.markBytesPerRow = scope.maskBytesPerRow
    return (try walk.run(), marker.tally)
  }
}
