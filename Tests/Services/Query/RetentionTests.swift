import Events
import Foundation
import Query
import RPC
import TestKit
import Testing

@Suite struct RetentionTests {
  @Test(arguments: 0..<200) func `agrees with the brute-force reference`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 52_000_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    for _ in 0..<4 {
      let query = randomQuery(data, &random)
      do {
        try Check(query, data, harness, "seed \(seed)").all(&random)
      } catch let error as QueryError {
        Issue.record("seed \(seed) \(query): \(error)")
      }
    }
  }

  private func randomQuery(_ data: RandomData, _ random: inout SeededRandom) -> RetentionQuery {
    let origin = Int(data.origin / 86_400_000)
    let begin = origin - 4 + random.below(8)
    var query = RetentionQuery(
      appID: "shop", days: begin...begin + random.below(12), unit: random.pick(CalendarUnit.allCases))
    let choice = { (random: inout SeededRandom) in
      EventChoice(
        (0...random.below(2)).map { _ in random.pick(RandomData.names) },
        filter: random.oneIn(3) ? RandomFilters.tree(&random) : nil)
    }
    query.cohort = [.new, .active, .event(choice(&random))][random.below(3)]
    if random.below(2) == 0 { query.returnEvent = choice(&random) }
    switch random.below(4) {
    case 0: query.columns = .keys(nil, random.pick(RetentionQuery.Mode.allCases))
    case 1:
      query.columns = .brackets(
        (0...random.below(3)).map { _ in
          let begin = random.below(4)
          return begin...begin + random.below(5)
        })
    default:
      let keys = Array(Array(0..<12).shuffled(using: &random).prefix(1 + random.below(5)))
      query.columns = .keys(keys, random.pick(RetentionQuery.Mode.allCases))
    }
    if random.below(2) == 0 { query.filter = RandomFilters.tree(&random) }
    if random.below(2) == 0 {
      query.breakdown = random.pick(
        ["platform", "province", "event", "page_path", "open_id", "age", "source_key", "channel", "tag"]
          .filter { data.has($0) })
      query.breakdownLimit = 1 + random.below(4)
    }
    if random.oneIn(3) { query.compareDays = origin...origin + random.below(5) }
    query.traffic = TrafficChoice(
      channel: random.oneIn(6) ? 2 : 1, includesExcludedScenes: random.below(2) == 0)
    return query
  }

  private struct Check {
    let query: RetentionQuery
    let data: RandomData
    let harness: EngineHarness
    let answer: RetentionAnswer
    let reference: ReferenceRetention
    let received: Int64
    let comment: Comment

    init(
      _ query: RetentionQuery, _ data: RandomData, _ harness: EngineHarness, _ comment: String
    ) throws {
      self.query = query
      self.data = data
      self.harness = harness
      self.comment = Comment(rawValue: "\(comment) \(query)")
      answer = try harness.engine.retention(query, control: QueryControl())
      received = answer.info.position.receivedMilliseconds
      func does(_ choice: EventChoice?) -> ((ReferenceEvent) -> Bool)? {
        choice.map { choice in
          { event in
            choice.events.contains(event.name)
              && choice.filter.map { RandomFilters.matches($0, event) } ?? true
          }
        }
      }
      var cohortEvent: EventChoice?
      if case .event(let choice) = query.cohort { cohortEvent = choice }
      reference = ReferenceRetention(
        data.events,
        counts: { event in
          event.channel == (query.traffic.channel == 1 ? "release" : "trial")
            && (query.traffic.includesExcludedScenes || !event.isExcludedScene)
        }, isNew: query.cohort == .new, cohortEvent: does(cohortEvent),
        returnEvent: does(query.returnEvent),
        matches: { event in query.filter.map { RandomFilters.matches($0, event) } ?? true })
    }

    /// Begin and end of the period `key` after one that holds a moment, by another calendar.
    func period(_ moment: Int64, _ key: Int) -> Range<Int64> {
      guard let calendar = ReferenceCalendar(data.zone) else { return 0..<0 }
      let component: (ReferenceCalendar) -> (Int64) -> Range<Int64> = { calendar in
        switch query.unit {
        case .day: { calendar.interval(.day, around: $0) }
        case .week: { calendar.interval(.weekOfYear, around: $0) }
        case .month: { calendar.interval(.month, around: $0) }
        }
      }
      var interval = component(calendar)(moment)
      for _ in 0..<key { interval = component(calendar)(interval.upperBound + 1) }
      return interval
    }

    var columns: [ClosedRange<Int>] {
      switch query.columns {
      case .brackets(let brackets): return brackets
      case .keys(let keys?, _): return keys.sorted().map { $0...$0 }
      case .keys(nil, _):
        let keys: [Int] =
          switch query.unit {
          case .day: [0, 1, 2, 3, 4, 5, 6, 7, 14, 30]
          case .week: [0, 1, 2, 3, 4]
          case .month: [0, 1]
          }
        return keys.map { $0...$0 }
      }
    }

    func all(_ random: inout SeededRandom) throws {
      table(answer.table, query.days) { _ in true }
      #expect((answer.compareTable == nil) == (query.compareDays == nil), comment)
      if let days = query.compareDays, let compared = answer.compareTable {
        table(compared, days) { _ in true }
      }
      breakdown()
      try users(&random)
    }

    func table(
      _ table: RetentionTable, _ days: ClosedRange<Int>, _ isIn: (ReferenceEvent) -> Bool
    ) {
      guard let calendar = ReferenceCalendar(data.zone) else { return }
      // Each day of the range with which a period begins is a row.
      let begins = days.compactMap { index -> Int64? in
        let civil = CivilDay(index: index)
        let day = calendar.day(civil.year, civil.month, civil.day)
        return period(day.lowerBound, 0).lowerBound == day.lowerBound ? day.lowerBound : nil
      }
      #expect(table.rows.map(\.period.milliseconds.lowerBound) == begins, comment)
      for row in table.rows { check(row, isIn) }
      for column in columns {
        let complete = table.rows.compactMap { row in
          row.cells.first { $0.periods == column && $0.isComplete }
        }
        let curve = table.curve.first { $0.periods == column }
        #expect((curve == nil) == complete.isEmpty, comment)
        if let curve {
          #expect(curve.users == complete.reduce(0) { $0 + $1.users }, comment)
          #expect(curve.size == complete.reduce(0) { $0 + $1.size }, comment)
        }
      }
    }

    func check(_ row: RetentionRow, _ isIn: (ReferenceEvent) -> Bool) {
      let begin = row.period.milliseconds.lowerBound
      #expect(row.period.milliseconds == period(begin, 0), comment)
      #expect(row.isComplete == (row.period.milliseconds.upperBound <= received), comment)
      let cohort = Set(reference.cohort(period(begin, 0)).filter { isIn($0.value) }.keys)
      #expect(row.size == UInt64(cohort.count), comment)
      let visible = columns.filter { period(begin, $0.lowerBound).lowerBound <= received }
      #expect(row.cells.map(\.periods) == visible, comment)
      for cell in row.cells {
        let last = period(begin, cell.periods.upperBound)
        #expect(cell.isComplete == (last.upperBound <= received), comment)
        #expect(cell.size == row.size, comment)
        #expect(cell.users == UInt64(expected(cohort, begin, cell.periods).count), comment)
      }
    }

    func expected(
      _ cohort: Set<String>, _ begin: Int64, _ periods: ClosedRange<Int>
    ) -> Set<String> {
      let first = period(begin, periods.lowerBound).lowerBound
      switch query.columns {
      case .keys(_, let mode):
        if periods.lowerBound == 0 { return cohort }
        let end = mode == .on ? period(begin, periods.lowerBound).upperBound : Int64.max
        return reference.returned(cohort, first..<end)
      case .brackets:
        return reference.returned(cohort, first..<period(begin, periods.upperBound).upperBound)
      }
    }

    func breakdown() {
      guard let field = query.breakdown else {
        #expect(answer.breakdown.isEmpty, comment)
        return
      }
      var sizes: [ReferenceValue?: Int] = [:]
      for row in answer.table.rows {
        for event in reference.cohort(row.period.milliseconds).values {
          sizes[data.value(field, of: event), default: 0] += 1
        }
      }
      let shown = answer.breakdown.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) }
      #expect(shown.count == min(sizes.count, query.breakdownLimit), comment)
      #expect(
        shown.map { sizes[$0] ?? -1 } == Array(sizes.values.sorted(by: >).prefix(shown.count)), comment)
      #expect(answer.breakdown.contains(where: \.isOther) == (sizes.count > shown.count), comment)
      for series in answer.breakdown {
        let value = series.value.map(RandomFilters.reference)
        table(series.table, query.days) { event in
          series.isOther
            ? !shown.contains(data.value(field, of: event)) : data.value(field, of: event) == value
        }
      }
    }

    func users(_ random: inout SeededRandom) throws {
      guard let row = answer.table.rows.randomElement(using: &random) else { return }
      let begin = row.period.milliseconds.lowerBound
      let series = answer.breakdown.randomElement(using: &random)
      let shown = answer.breakdown.filter { !$0.isOther }.map { $0.value.map(RandomFilters.reference) }
      let cohort = reference.cohort(row.period.milliseconds).filter { _, event in
        guard let series, let field = query.breakdown else { return true }
        let value = data.value(field, of: event)
        return series.isOther
          ? !shown.contains(value) : value == series.value.map(RandomFilters.reference)
      }
      let cell = row.cells.randomElement(using: &random)
      // Brackets that begin alike are one name: the first is meant.
      let periods = row.cells.first { $0.periods.lowerBound == cell?.periods.lowerBound }?.periods
      let list = try harness.engine.retentionUsers(
        query, refDate: row.period.refDate, key: cell?.periods.lowerBound,
        group: series.map { $0.isOther ? [] : [$0.value] } ?? [], isOther: series?.isOther ?? false,
        control: QueryControl())
      let expected = periods.map { self.expected(Set(cohort.keys), begin, $0) } ?? Set(cohort.keys)
      #expect(Set(list.openIDs) == expected, comment)
      #expect(list.openIDs.count == expected.count, comment)
    }
  }

  // MARK: - Agreement and refusals

  @Test(arguments: 0..<60) func `key 0 is what the trend calls visit_uv and visit_uv_new`(_ seed: Int) throws {
    var random = SeededRandom(seed: UInt64(seed) + 52_500_000)
    let data = RandomData(&random)
    let harness = try EngineHarness(try data.definition)
    try data.apply(to: harness, &random)
    let origin = Int(data.origin / 86_400_000)
    let traffic = TrafficChoice(includesExcludedScenes: random.below(2) == 0)
    let days = origin - 2...origin + 10
    let trend = try harness.engine.trend(
      TrendQuery(appID: "shop", days: days, traffic: traffic), control: QueryControl())
    for (cohort, metric) in [(RetentionQuery.Cohort.active, \TrendMetrics.visitUsers), (.new, \.visitNewUsers)] {
      let answer = try harness.engine.retention(
        RetentionQuery(appID: "shop", days: days, cohort: cohort, traffic: traffic),
        control: QueryControl())
      #expect(answer.table.rows.map(\.size) == trend.points.map { $0.metrics[keyPath: metric] }, "seed \(seed)")
      for row in answer.table.rows where !row.cells.isEmpty {
        #expect(row.cells[0].users == row.size, "seed \(seed)")
      }
    }
  }

  private func error(_ change: (inout RetentionQuery) -> Void) throws -> String {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let event = ReferenceEvent(user: "u", time: 1_000, sequence: 0, offset: 0, name: "buy")
    try harness.apply([[event]], receivedMilliseconds: 2_000)
    var query = RetentionQuery(appID: "shop", days: 0...0)
    change(&query)
    do {
      _ = try harness.engine.retention(query, control: QueryControl())
      return "answered"
    } catch let error as QueryError {
      return error.description
    }
  }

  @Test func `what is asked wrongly is refused by name`() throws {
    #expect(try error { $0.columns = .keys([1, 1], .on) } == "keys: a number is given twice")
    #expect(try error { $0.columns = .keys([367], .on) } == "keys: 367 given, must be 0-366")
    #expect(try error { $0.columns = .keys(Array(0...90), .on) } == "keys: 91 given, must be at most 90")
    #expect(try error { $0.columns = .brackets([]) } == "brackets: 0 given, must be 1-90")
    #expect(try error { $0.columns = .brackets([1...367]) }.hasPrefix("brackets: 1-367"))
    #expect(try error { $0.cohort = .event(EventChoice([])) } == "cohort_event.events: 0 given, must be 1-20")
    #expect(try error { $0.returnEvent = EventChoice(["No"]) }.hasPrefix("return_event.events"))
    #expect(try error { $0.returnEvent = EventChoice(["buy"], filter: .and([])) }.hasPrefix("return_event.filter"))
    #expect(try error { $0.breakdown = "colour" }.hasPrefix("breakdown: no field"))
    #expect(try error { $0.breakdownLimit = 0 } == "breakdown_limit: is 0, must be 1-1000")
    #expect(try error { $0.filter = .or([]) }.hasPrefix("filter"))
    #expect(try error { $0.days = 0...3_660; $0.columns = .keys(Array(0..<20), .on) }.contains("at most 40000"))
    #expect(try error { _ in } == "answered")
  }

  @Test func `a cell in the future is absent, one not over is incomplete`() throws {
    let harness = try EngineHarness(
      AppDefinition(appID: "shop", platform: "wechat", timeZone: "UTC", sessionRules: .classic))
    let day: Int64 = 86_400_000
    let events = [0, day, 2 * day + 1].map { time in
      ReferenceEvent(user: "u", time: time, sequence: 0, offset: 0, name: "buy")
    }
    try harness.apply(events.map { [$0] }, receivedMilliseconds: 2 * day + 1)
    let answer = try harness.engine.retention(
      RetentionQuery(appID: "shop", days: 0...3), control: QueryControl())
    let cells = answer.table.rows.map { $0.cells.map { "\($0.periods.lowerBound):\($0.users)\($0.isComplete ? "" : "?")" } }
    #expect(cells == [["0:1", "1:1", "2:1?"], ["0:0", "1:0?"], ["0:0?"], []])
    #expect(answer.table.curve.map(\.periods.lowerBound) == [0, 1])
    #expect(!answer.info.isComplete)
  }
}
