import Events
import Store

/// The days of a snapshot, sealed and unsealed rows put together. One per query.
struct DaySource: Sendable {
  let snapshot: AppSnapshot
  /// Every day that has events, ascending.
  let days: [Int32]
  let engine: QueryEngine
  let control: QueryControl
  private let needs: DayNeeds
  private let unsealedDays: Set<Int32>

  /// - Parameters:
  ///   - fields: of events, that the query reads.
  ///   - columns: of rows, that it reads. Fewer are read faster where the day is not in memory.
  ///   - contexts: columns of contexts that it reads; nil: all.
  init(
    _ snapshot: AppSnapshot, engine: QueryEngine, fields: Set<UInt32>,
    columns: RowColumns = .all, contexts: Set<Int>? = nil, control: QueryControl
  ) throws {
    self.snapshot = snapshot
    self.engine = engine
    self.control = control
    needs = DayNeeds(rows: columns, contexts: contexts, fields: fields)
    unsealedDays = snapshot.buffers.reduce(into: []) { $0.formUnion($1.days.keys) }
    days = unsealedDays.union(snapshot.segments.keys).sorted()
  }

  /// Days of a range that have events.
  func days(in range: Range<Int>) -> ArraySlice<Int32> {
    snapshot.coverage.note(range)
    let lower = days.partitioningIndex { Int($0) >= range.lowerBound }
    let upper = days.partitioningIndex { Int($0) >= range.upperBound }
    return days[lower..<max(lower, upper)]
  }

  /// Rows of a day, about, without reading it.
  func rowCount(_ day: Int32) -> Int {
    let unsealedRows = snapshot.buffers.reduce(0) { $0 + $1.count(day) }
    return unsealedRows + (snapshot.segments[day]?.rows ?? 0)
  }

  /// Whether the day's columns are in memory already, for all queries together.
  func isCached(_ day: Int32) -> Bool {
    sealedSegment(day).map { engine.cache.holds($0) } ?? false
  }

  func begin(of day: Int32) -> Int64 { snapshot.calendar.start(ofDay: Int(day)) }

  // MARK: Reading

  /// Reads a day, as the app's table of scenes has it now. Cheap where it has been read lately.
  func load(_ day: Int32) throws -> DayColumns {
    try control.check()
    let (columns, isKnown) =
      unsealedDays.contains(day) ? try mixed(day) : try sealed(day, needs)
    note(columns, isKnown)
    return columns
  }

  /// Reads several days on several threads, in the order given. The caller holds them all: ask for as many as it can use.
  func load(_ days: some Collection<Int32>) throws -> [DayColumns] {
    let days = Array(days)
    return try Blocks.map(days.count, threads: Limits.threadsDefault) { try load(days[$0]) }
  }

  /// Calls `body` for each of the days, in order, with a few of them read ahead on several threads.
  func forEach(_ days: some Collection<Int32>, _ body: (DayColumns) throws -> Void) throws {
    var rest = Array(days)[...]
    while !rest.isEmpty {
      let ahead = rest.prefix(Limits.daysReadAhead)
      for day in try load(ahead) { try body(day) }
      rest = rest.dropFirst(ahead.count)
    }
  }

  /// nil: the day has rows that are not sealed, or none at all.
  func sealedSegment(_ day: Int32) -> Segment? {
    unsealedDays.contains(day) ? nil : snapshot.segments[day]
  }

  /// What can be said of a day without its events; they are read where that is not stored.
  func facts(_ day: Int32) throws -> DayFacts {
    try control.check()
    guard let segment = sealedSegment(day) else {
      return DayFacts(unsealedDays.contains(day) ? try load(day) : try flags(day))
    }
    var isKnown = true
    let facts = try engine.cache.facts(segment, snapshot.exclusion) {
      isKnown = false
      if segment.exclusion == snapshot.exclusion, segment.activeClasses != nil {
        return try engine.store.read { try SegmentTable.facts(of: segment, from: $0) }
      }
      return DayFacts(try flags(day))
    }
    control.profile?.read(facts: facts, ofDay: day, cached: isKnown)
    return facts
  }

  /// A day of which nothing is read.
  func emptyDay(_ day: Int32) -> DayColumns {
    DayColumns(
      day: day, beginMilliseconds: snapshot.segments[day]?.beginMilliseconds ?? begin(of: day))
  }

  /// Users and flags of a sealed day.
  func flags(_ day: Int32) throws -> DayColumns {
    let (columns, isKnown) = try sealed(day, Self.factNeeds)
    note(columns, isKnown)
    return columns
  }

  /// Of a sealed day only the rows of some events, where they are few: what is asked of them then lies close together. Kept between
  /// queries.
  ///
  /// - Returns: nil: they are many, or the day has rows that are not sealed.
  func part(_ number: Int32, of events: Set<UInt32>) throws -> DayColumns? {
    guard let segment = sealedSegment(number) else { return nil }
    try control.check()
    return try engine.cache.part(
      segment, events,
      holds: { $0.exclusion == snapshot.exclusion && DayLoader.holds($0, needs, of: segment) }
    ) {
      let day = try loadForPart(segment)
      let rows = day.rows(of: events)
      guard rows.count <= day.count / Limits.rareEventShare else {
        engine.cache.keep(day, of: segment)
        return nil
      }
      return day.part(rows, fields: Set(day.fields.keys))
    }
  }

  /// A sealed day of which a part will be kept, with runs of contexts in the place of those of each row.
  func loadForPart(_ segment: Segment) throws -> DayColumns {
    var needs = needs
    if needs.rows.remove(.context) != nil { needs.rows.insert(.contextRuns) }
    let (columns, isKnown) = try engine.cache.sealed(
      segment, needs, snapshot.exclusion, isForPart: true, read: { try read(segment, $0, known: $1) })
    note(columns, isKnown)
    return columns
  }

  /// Whether what is kept of a day has the columns of contexts that are asked for.
  func holdsContexts(_ day: DayColumns) -> Bool { DayLoader.holdsContexts(day, needs) }

  /// How many rows of a sealed day have which flags; nil: the day has rows that are not sealed. Reads no events where it is stored.
  func sealedFlagCounts(_ day: Int32) throws -> [Int]? {
    guard let segment = sealedSegment(day) else { return nil }
    let isStored = segment.exclusion == snapshot.exclusion && !segment.flagCounts.isEmpty
    return isStored ? segment.flagCounts : try facts(day).flagCounts
  }

  /// Where the opens of a day begin and end; nil: the day has rows that are not sealed, or none. Kept between queries.
  ///
  /// - Parameter columns: of the day, with events, pages and stays.
  func opens(_ columns: DayColumns) -> DayOpens? {
    guard let segment = sealedSegment(columns.day) else { return nil }
    return engine.cache.opens(segment, snapshot.rules) {
      DayOpens(columns, end: begin(of: columns.day + 1), rules: snapshot.rules)
    }
  }

  func knowsOpens(_ day: Int32) -> Bool {
    sealedSegment(day).map { engine.cache.holdsOpens($0, snapshot.rules) } ?? true
  }

  private static let factNeeds = DayNeeds(rows: [], contexts: [])

  private func note(_ day: DayColumns, _ isKnown: Bool) {
    guard let profile = control.profile else { return }
    var names = ["users", "flags"]
    if day.has.contains(.time) { names.append("time") }
    if day.has.contains(.event) { names.append("event") }
    if day.has.contains(.page) { names.append("page") }
    if day.has.contains(.context) { names.append("context") }
    names += day.fields.keys.sorted().map { "field \($0)" }
    profile.read(
      day: day.day, rows: day.count, bytes: day.byteCount, columns: names, cached: isKnown)
  }

  private func sealed(_ day: Int32, _ needs: DayNeeds) throws -> (DayColumns, isKnown: Bool) {
    guard let segment = snapshot.segments[day] else {
      return (emptyDay(day), true)
    }
    return try engine.cache.sealed(
      segment, needs, snapshot.exclusion, read: { try read(segment, $0, known: $1) })
  }

  private func read(
    _ segment: Segment, _ needs: DayNeeds, known: DayColumns?
  ) throws -> DayColumns {
    try engine.store.read { try DayLoader.load(segment, needs, known: known, from: $0) }
  }

  private func mixed(_ day: Int32) throws -> (DayColumns, isKnown: Bool) {
    let key = MixedDay.Key(app: snapshot.app.id, day: day)
    let version = MixedDay.Version(
      segment: snapshot.segments[day]?.id, generation: snapshot.generation,
      exclusion: snapshot.exclusion)
    let total = snapshot.buffers.reduce(0) { $0 + $1.count(day) }
    return try engine.cache.mixed(key, version, rows: total, fields: needs.fields) {
      try merge(day, onto: $0, fields: $1)
    }
  }

  /// - Parameter known: the same day with the first of the unsealed rows.
  private func merge(_ day: Int32, onto known: MixedDay?, fields: Set<UInt32>) throws -> MixedDay {
    let base: DayColumns
    if let known {
      base = known.day
    } else if let segment = snapshot.segments[day] {
      base = try read(segment, DayNeeds(sequence: true, fields: fields), known: nil)
    } else {
      base = emptyDay(day)
    }
    var skipped = known?.rows ?? 0
    var parts: [DayMerge.Part] = []
    var total = 0
    for buffer in snapshot.buffers {
      guard let selected = buffer.days[day] else { continue }
      total += selected.count
      let fresh = selected.dropFirst(skipped)
      skipped -= selected.count - fresh.count
      if fresh.count > 0 { parts.append(DayMerge.Part(rows: buffer.rows, selected: fresh)) }
    }
    try control.charge(parts.reduce(0) { $0 + $1.selected.count * 24 }, for: "unsealed rows")
    var columns = DayMerge(sealed: base, parts: parts, wantsFields: fields.contains).merged()
    columns.apply(snapshot.exclusion)
    return MixedDay(day: columns, rows: total, fields: fields)
  }
}
