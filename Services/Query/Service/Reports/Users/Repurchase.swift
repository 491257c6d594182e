import Events

/// Who orders again, and after how long? (SEMANTICS 8)
package struct RepurchaseQuery: Sendable {
  package static let defaultGapDays = [1, 3, 7, 14, 30, 60, 90]

  package var appID: String
  package var days: ClosedRange<Int>
  /// What an order is.
  package var order: EventChoice
  /// Upper bounds of the gaps' classes, included, ascending.
  package var gapDays: [Int]
  package var traffic: TrafficChoice
  package var compareDays: ClosedRange<Int>?

  package init(
    appID: String, days: ClosedRange<Int>, order: EventChoice, gapDays: [Int]? = nil,
    traffic: TrafficChoice = TrafficChoice(), compareDays: ClosedRange<Int>? = nil
  ) {
    self.appID = appID
    self.days = days
    self.order = order
    self.gapDays = gapDays ?? Self.defaultGapDays
    self.traffic = traffic
    self.compareDays = compareDays
  }
}

package struct GapBar: Sendable, Equatable {
  /// Upper bound, included; 0: more than the last.
  package let days: Int
  package let gaps: UInt64
  package let users: UInt64
}

package struct RepurchaseMetrics: Sendable, Equatable {
  package let orders: UInt64
  package let buyers: UInt64
  package let repeatBuyers: UInt64
  package let meanGapMilliseconds: Double
  package let medianGapMilliseconds: Double
  package let gaps: [GapBar]

  package var rate: Double { buyers == 0 ? 0 : Double(repeatBuyers) / Double(buyers) }
}

package struct RepurchaseAnswer: Sendable, Equatable {
  package let metrics: RepurchaseMetrics
  package let compare: RepurchaseMetrics?
  package let info: AnswerInfo
}

/// Which users of a repurchase.
package enum RepurchaseCell: Sendable, Equatable {
  case buyers, repeatBuyers
  /// With such a gap: its upper bound, 0: more than the last.
  case gap(days: Int)
}

extension QueryEngine {
  package func repurchase(
    _ query: RepurchaseQuery, control: QueryControl
  ) throws -> RepurchaseAnswer { try RepurchaseRun(query, engine: self, control: control).answer() }

  package func repurchaseUsers(
    _ query: RepurchaseQuery, _ cell: RepurchaseCell, control: QueryControl
  ) throws -> UserList {
    try RepurchaseRun(query, engine: self, control: control).users(cell)
  }
}

private struct RepurchaseRun {
  let query: RepurchaseQuery
  let control: QueryControl
  let snapshot: AppSnapshot
  let source: DaySource
  private let selectors = WorkerPool<EventSelector>()

  /// Days whose orders are held at a time.
  private static let batch = 16

  /// One user's orders so far.
  struct Buyer {
    var orders: UInt32 = 0
    var last: Int64 = 0
    /// Bit k: a gap of class k.
    var classes: UInt64 = 0
  }

  private struct Order: Sendable {
    let user: UInt32
    let time: Int64
  }

  private struct Scan {
    var buyers: [Buyer]
    var orders: UInt64 = 0
    var gaps: [UInt64]
    var sum: Int64 = 0
    var sample = NumberSample()
    var tally = EventTally()
  }

  init(_ query: RepurchaseQuery, engine: QueryEngine, control: QueryControl) throws {
    try Self.check(query)
    self.query = query
    self.control = control
    snapshot = try engine.snapshot(query.appID)
    // Checks the filter under the name that the question gives it.
    _ = try EventSelector(query.order, asked: "order", traffic: query.traffic, in: snapshot)
    var needs = ColumnNeeds()
    needs.add(rows: .time)
    try needs.add(query.order, in: snapshot)
    source = try DaySource(snapshot, engine: engine, needs: needs, control: control)
  }

  private static func check(_ query: RepurchaseQuery) throws(QueryError) {
    try query.order.check(asked: "order", names: 1...Limits.eventsPerStepMax)
    guard (1...Limits.gapClassesMax).contains(query.gapDays.count) else {
      throw .invalid(
        "gap_days", "\(query.gapDays.count) given, must be at most \(Limits.gapClassesMax)")
    }
    for (index, days) in query.gapDays.enumerated() {
      guard (1...Limits.rangeDaysMax).contains(days) else {
        throw .invalid("gap_days[\(index)]", "is \(days), must be 1-\(Limits.rangeDaysMax)")
      }
      if index > 0, days <= query.gapDays[index - 1] {
        throw .invalid(
          "gap_days[\(index)]", "is \(days), must be more than the one before, \(query.gapDays[index - 1])")
      }
    }
  }

  func answer() throws -> RepurchaseAnswer {
    let main = try scan(query.days)
    let compared = try query.compareDays.map { try scan($0) }
    let ends = [query.days, query.compareDays ?? query.days].map {
      snapshot.calendar.range(ofDays: $0).upperBound
    }
    let received = snapshot.position.receivedMilliseconds
    return RepurchaseAnswer(
      metrics: metrics(main), compare: compared.map(metrics),
      info: AnswerInfo(snapshot, main.tally, isComplete: ends.allSatisfy { $0 <= received }))
  }

  private func scan(_ days: ClosedRange<Int>) throws -> Scan {
    let bytes = snapshot.userCount * MemoryLayout<Buyer>.stride
    try control.charge(bytes, for: "the orders of each user")
    defer { control.release(bytes) }
    var scan = Scan(
      buyers: Array(repeating: Buyer(), count: snapshot.userCount),
      gaps: Array(repeating: 0, count: query.gapDays.count + 1))
    let numbers = Array(source.days(in: days.lowerBound..<days.upperBound + 1))
    for begin in stride(from: 0, to: numbers.count, by: Self.batch) {
      let batch = Array(numbers[begin..<min(begin + Self.batch, numbers.count)])
      let found = try Blocks.map(batch.count, threads: Limits.threadsDefault) {
        try orders(batch[$0])
      }
      for (orders, tally) in found {
        scan.tally.merge(tally)
        for order in orders { add(order, &scan) }
        control.release(orders.count * MemoryLayout<Order>.stride)
      }
      try control.charge(scan.sample.byteCount, for: "the gaps")
      control.release(scan.sample.byteCount)
    }
    scan.sample.settle()
    return scan
  }

  private func orders(_ number: Int32) throws -> ([Order], EventTally) {
    try selectors.with(make: {
      try EventSelector(query.order, asked: "order", traffic: query.traffic, in: snapshot)
    }) { selector in
      let day = try source.load(number)
      let selection = try selector.select(day, source)
      try control.charge(
        selection.rows.count * MemoryLayout<Order>.stride, for: "the orders of some days")
      var position = 0
      let orders = selection.rows.map { row in
        while day.userEnds[position] <= row { position += 1 }
        return Order(user: day.users[position], time: day.time(Int(row)))
      }
      return (orders, selection.tally)
    }
  }

  private func add(_ order: Order, _ scan: inout Scan) {
    scan.orders += 1
    let user = Int(order.user)
    if scan.buyers[user].orders > 0 {
      let gap = order.time - scan.buyers[user].last
      let place = query.gapDays.partitioningIndex { Int64($0) * 86_400_000 >= gap }
      scan.gaps[place] += 1
      scan.sum += gap
      scan.sample.add(Double(gap))
      scan.buyers[user].classes |= 1 << UInt64(place)
    }
    scan.buyers[user].orders += 1
    scan.buyers[user].last = order.time
  }

  private func metrics(_ scan: Scan) -> RepurchaseMetrics {
    let bounds = query.gapDays + [0]
    var users = [UInt64](repeating: 0, count: bounds.count)
    for buyer in scan.buyers where buyer.classes != 0 {
      for place in bounds.indices where buyer.classes & (1 << UInt64(place)) != 0 {
        users[place] += 1
      }
    }
    let gapCount = scan.gaps.reduce(0, +)
    return RepurchaseMetrics(
      orders: scan.orders, buyers: UInt64(scan.buyers.count { $0.orders > 0 }),
      repeatBuyers: UInt64(scan.buyers.count { $0.orders > 1 }),
      meanGapMilliseconds: gapCount == 0 ? 0 : Double(scan.sum) / Double(gapCount),
      medianGapMilliseconds: scan.sample.quantile(0.5) ?? 0,
      gaps: bounds.indices.map { GapBar(days: bounds[$0], gaps: scan.gaps[$0], users: users[$0]) })
  }

  func users(_ cell: RepurchaseCell) throws -> UserList {
    var place: Int?
    if case .gap(let days) = cell {
      place = (query.gapDays + [0]).firstIndex(of: days)
      guard place != nil else {
        throw QueryError.invalid("cell.key", "the report has no class of \(days) days")
      }
    }
    let scan = try scan(query.days)
    let users = scan.buyers.indices.filter { user in
      let buyer = scan.buyers[user]
      if let place { return buyer.classes & (1 << UInt64(place)) != 0 }
      return buyer.orders > (cell == .repeatBuyers ? 1 : 0)
    }
    let end = snapshot.calendar.range(ofDays: query.days).upperBound
    return UserList(
      users: users.map(UInt32.init), app: snapshot.app,
      info: AnswerInfo(
        snapshot, scan.tally, isComplete: end <= snapshot.position.receivedMilliseconds))
  }
}
