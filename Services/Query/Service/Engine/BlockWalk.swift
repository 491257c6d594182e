import Events

/// Cuts the events of a block of users into opens, day by day, and measures their page visits (SEMANTICS 2): the rules of
/// `OpenCutter` and `StayMeter` as one flat loop over columns.
struct BlockWalk<Visitor: OpenVisitor> {
  /// The users of the block, by code.
  let users: Range<UInt32>
  private(set) var visitor: Visitor
  /// Users of whom it must be known when they went to the background before the walk began.
  private(set) var missing: [UInt32] = []
  /// Users whose latest open may go on, ascending.
  private var carried: [State] = []
  private var kept: [State] = []
  /// By user of the block: when the app went to the background. Outlasts the end of an open: a custom event may come while
  /// the app is in the background, and the return to the foreground after it.
  private var backgrounds: [Int64]
  private let timeout: Int64
  private let mergeUnder: Int64
  /// The log's latest receipt time.
  private let received: Int64

  /// Before every event by more than any timeout.
  private static var never: Int64 { -(1 << 62) }

  /// One user: where opens are cut, and the open that has not ended.
  private struct State {
    var user: UInt32
    var last = BlockWalk.never
    var background: Int64
    var isOpen = false
    var open = Visitor.noOpen
    /// A page visit whose stay is not known yet.
    var hasVisit = false
    var visit = Visitor.noVisit
    var visitPage = 0
    var visitBegin: Int64 = 0
    /// Time of the event behind it; `never`: none yet.
    var next = BlockWalk.never
    var hasLeave = false
    /// What the leave says.
    var stay: Int64?
  }

  /// - Parameters:
  ///   - known: when users went to the background before the walk; `Int64.min`: not there.
  ///   - received: the log's latest receipt time, ms since 1970.
  init(
    users: Range<UInt32>, visitor: consuming Visitor, known: [UInt32: Int64] = [:],
    rules: SessionRules, received: Int64
  ) {
    self.users = users
    self.visitor = visitor
    timeout = rules.timeoutMilliseconds
    mergeUnder = rules.mergeUnderMilliseconds
    self.received = received
    backgrounds = Array(repeating: BackgroundMark.unknown, count: users.count)
    for (user, time) in known where users.contains(user) {
      backgrounds[Int(user - users.lowerBound)] =
        time == Int64.min ? BackgroundMark.foreground : time
    }
  }

  var isCarrying: Bool { !carried.isEmpty }

  mutating func takeSummary() -> Visitor.Summary { visitor.takeSummary() }

  /// When a user of the block went to the background, as far as has been walked; or a `BackgroundMark`.
  func background(of user: UInt32) -> Int64 { backgrounds[Int(user - users.lowerBound)] }

  mutating func takeMissing() -> [UInt32] {
    defer { missing = [] }
    return missing
  }

  // MARK: Days

  /// A day of the range: all users. A day before it: those of `followed`, ascending.
  ///
  /// - Parameter opens: what is known of the day of the range already.
  mutating func walk(
    _ columns: DayColumns, _ day: WalkedDay, _ marks: Visitor.Marks, opens: DayOpens?,
    followed: [UInt32]?
  ) {
    visitor.enter(day, marks)
    let positions = columns.positions(of: users)
    guard let first = positions.first else { return endAll(before: day.end) }
    var stays = StayCursor(columns, from: columns.rows(ofUserAt: first).lowerBound)
    var old = 0
    if let opens, followed == nil {
      walk(columns, positions, day, opens, &stays, &old)
      return keepRest(from: old, before: day.end)
    }
    var wanted = followed?.partitioningIndex { $0 >= users.lowerBound } ?? 0
    columns.users.withUnsafeBufferPointer { dayUsers in
      columns.userEnds.withUnsafeBufferPointer { ends in
        for position in positions {
          let user = dayUsers[position]
          if let followed {
            while wanted < followed.count, followed[wanted] < user { wanted += 1 }
            guard wanted < followed.count, followed[wanted] == user else { continue }
          }
          let rows = (position == 0 ? 0 : Int(ends[position - 1]))..<Int(ends[position])
          walkUser(user, rows, day, &stays, &old)
        }
      }
    }
    keepRest(from: old, before: day.end)
  }

  /// The same where the opens of most users are known.
  private mutating func walk(
    _ columns: DayColumns, _ positions: Range<Int>, _ day: WalkedDay, _ opens: DayOpens,
    _ stays: inout StayCursor, _ old: inout Int
  ) {
    let (dayUsers, ends) = (day.columns.users, day.columns.userEnds)
    takeBackgrounds(positions, day, opens)
    var next = opens.walked.partitioningIndex { Int($0) >= positions.lowerBound }
    day.columns.fetch(usersAt: opens.walked[next...].prefix { Int($0) < positions.upperBound })
    // Users one after another whose opens are taken at once.
    var begin = positions.lowerBound
    while true {
      let isMore = next < opens.walked.count && Int(opens.walked[next]) < positions.upperBound
      var position = isMore ? Int(opens.walked[next]) : positions.upperBound
      if old < carried.count, !isMore || carried[old].user < dayUsers[position] {
        let user = carried[old].user
        let place = day.position(of: user, in: begin..<positions.upperBound)
        if place == positions.upperBound || dayUsers[place] != user {
          keep(carried[old], before: day.end)
          old += 1
          continue
        }
        position = place
      } else if isMore {
        next += 1
      } else {
        break
      }
      if begin < position { visitor.take(begin..<position, of: opens) }
      begin = position + 1
      let rows = (position == 0 ? 0 : Int(ends[position - 1]))..<Int(ends[position])
      walkUser(dayUsers[position], rows, day, &stays, &old)
    }
    if begin < positions.upperBound { visitor.take(begin..<positions.upperBound, of: opens) }
  }

  /// When the apps of users whose opens are taken whole went to the background.
  private mutating func takeBackgrounds(
    _ positions: Range<Int>, _ day: WalkedDay, _ opens: DayOpens
  ) {
    guard let packed = opens.backgrounds?.pointer else { return }
    let (isWhole, dayUsers, first) = (opens.isWhole.pointer, day.columns.users, users.lowerBound)
    backgrounds.withUnsafeMutableBufferPointer { backgrounds in
      for position in positions where isWhole[position] != 0 {
        if let background = DayOpens.background(packed[position], dayBegin: day.begin) {
          backgrounds[Int(dayUsers[position] &- first)] = background
        }
      }
    }
  }

  @inline(__always)
  private mutating func walkUser(
    _ user: UInt32, _ rows: Range<Int>, _ day: WalkedDay, _ stays: inout StayCursor,
    _ old: inout Int
  ) {
    while old < carried.count, carried[old].user < user {
      keep(carried[old], before: day.end)
      old += 1
    }
    visitor.enter(user: user, rows)
    let slot = Int(user - users.lowerBound)
    var state: State
    if old < carried.count, carried[old].user == user {
      state = carried[old]
      old += 1
      visitor.resume(&state.open)
    } else {
      state = State(user: user, background: backgrounds[slot])
    }
    _ = walk(rows, day, &state, &stays)
    backgrounds[slot] = state.background
    visitor.leaveUser()
    keep(state, before: day.end)
  }

  /// A day behind the range: only where opens go on that began before its end.
  mutating func follow(_ columns: DayColumns, _ day: WalkedDay, _ marks: Visitor.Marks) {
    visitor.enter(day, marks)
    var stays = StayCursor(columns, from: 0)
    let going = carried
    carried = []
    for var state in going {
      let position = columns.users.partitioningIndex { $0 >= state.user }
      guard position < columns.users.count, columns.users[position] == state.user else {
        keep(state, before: day.end)
        continue
      }
      let rows = columns.rows(ofUserAt: position)
      visitor.enter(user: state.user, rows)
      visitor.resume(&state.open)
      let goesOn = walk(rows, day, &state, &stays)
      visitor.leaveUser()
      if goesOn { keep(state, before: day.end) }
    }
    swap(&carried, &kept)
    kept.removeAll(keepingCapacity: true)
  }

  /// A day before the range, for who was there before.
  mutating func history(_ columns: DayColumns, _ day: WalkedDay, _ marks: Visitor.Marks) {
    visitor.enter(day, marks)
    for position in columns.positions(of: users) {
      let rows = columns.rows(ofUserAt: position)
      visitor.enter(user: columns.users[position], rows)
      for row in rows { visitor.history(row) }
    }
  }

  // MARK: Users

  /// Ends the opens that no event from a moment on can go on with.
  mutating func endAll(before moment: Int64) {
    for state in carried { keep(state, before: moment) }
    swap(&carried, &kept)
    kept.removeAll(keepingCapacity: true)
  }

  /// Ends every open: there are no more events.
  mutating func finish() {
    for var state in carried { end(&state, isCertain: false) }
    carried = []
  }

  private mutating func keepRest(from old: Int, before moment: Int64) {
    for index in old..<carried.count { keep(carried[index], before: moment) }
    carried.removeAll(keepingCapacity: true)
    swap(&carried, &kept)
  }

  /// Remembers a user from `moment` on where the open may go on then.
  @inline(__always)
  private mutating func keep(_ state: State, before moment: Int64) {
    guard state.isOpen else { return }
    var state = state
    if moment - state.last > timeout {
      end(&state, isCertain: false)
    } else {
      visitor.suspend(&state.open)
      kept.append(state)
    }
  }

  @inline(__always)
  private mutating func end(_ state: inout State, isCertain: Bool) {
    if state.hasVisit {
      state.hasVisit = false
      let stay =
        state.hasLeave ? state.stay ?? max(0, state.next - state.visitBegin) : 0
      visitor.stay(state.visit, stay, &state.open)
    }
    state.isOpen = false
    let isOver = isCertain || received - state.last > timeout
    visitor.end(
      &state.open, of: state.user, OpenEnd(lastMilliseconds: state.last, isCertain: isOver))
  }

  // MARK: Rows

  /// - Returns: false where the open ended on a day behind the range: nothing more is wanted of the user then.
  @inline(__always)
  private mutating func walk(
    _ rows: Range<Int>, _ day: WalkedDay, _ state: inout State, _ stays: inout StayCursor
  ) -> Bool {
    for row in rows {
      if day.isPassive(row) {
        if day.isInRange { visitor.passive(row) }
        continue
      }
      let time = day.time(row)
      let code = day.event(row)
      var begins = time &- state.last > timeout
      if code <= WalkedDay.background { mark(code, time, &begins, &state) }
      if begins {
        if state.isOpen { end(&state, isCertain: true) }
        if day.isBehindRange {
          state.last = time
          return false
        }
        state.open = visitor.begin(row, at: time)
        state.isOpen = true
      }
      state.last = time
      if code == WalkedDay.pageView {
        view(row, time, day, &state)
      } else if Visitor.measuresStays, state.hasVisit {
        if state.next == Self.never { state.next = time }
        if code == WalkedDay.pageLeave { leave(row, day, &state, &stays) }
      }
      visitor.event(row, code, at: time, &state.open)
    }
    return true
  }

  /// `$launch`, `$foreground`, `$background`.
  private mutating func mark(_ code: Int, _ time: Int64, _ begins: inout Bool, _ state: inout State) {
    switch code {
    case WalkedDay.launch:
      begins = true
      state.background = BackgroundMark.foreground
    case WalkedDay.foreground:
      if !begins {
        if state.background == BackgroundMark.unknown { missing.append(state.user) }
        let isInBackground = state.background > BackgroundMark.foreground
        begins = isInBackground && time &- state.background > mergeUnder
      }
      state.background = BackgroundMark.foreground
    case WalkedDay.background: state.background = time
    default: break
    }
  }

  @inline(__always)
  private mutating func view(_ row: Int, _ time: Int64, _ day: WalkedDay, _ state: inout State) {
    if !Visitor.measuresStays {
      _ = visitor.view(row, at: time, &state.open)
      return
    }
    if state.hasVisit {
      let next = state.next == Self.never ? time : state.next
      visitor.stay(state.visit, state.stay ?? max(0, next - state.visitBegin), &state.open)
    }
    state.visit = visitor.view(row, at: time, &state.open)
    state.hasVisit = true
    state.visitPage = day.page(row)
    state.visitBegin = time
    state.next = Self.never
    state.hasLeave = false
    state.stay = nil
  }

  /// A visit's leave is the first `$page_leave` of the same page, or of none, before the next visit.
  private mutating func leave(
    _ row: Int, _ day: WalkedDay, _ state: inout State, _ stays: inout StayCursor
  ) {
    let page = day.page(row)
    guard !state.hasLeave, page == 0 || page == state.visitPage else { return }
    state.hasLeave = true
    state.stay = stays.value(row)
  }
}
