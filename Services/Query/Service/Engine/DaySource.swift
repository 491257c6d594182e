import Events
import Store

/// The days of a snapshot, sealed and unsealed rows put together. One per query.
struct DaySource {
  let snapshot: AppSnapshot
  /// Every day that has events, ascending.
  let days: [Int32]
  private let engine: QueryEngine
  private let needs: DayNeeds
  private let unsealed: [Int32: [DayMerge.Part]]
  private let control: QueryControl

  init(
    _ snapshot: AppSnapshot, engine: QueryEngine, fields: Set<UInt32>, control: QueryControl
  ) throws {
    self.snapshot = snapshot
    self.engine = engine
    self.control = control
    needs = DayNeeds(fields: fields)
    let unsealed = Self.byDay(snapshot.buffers)
    try control.charge(snapshot.buffers.reduce(0) { $0 + $1.rows.count * 4 }, for: "unsealed rows")
    self.unsealed = unsealed
    days = Set(snapshot.segments.keys).union(unsealed.keys).sorted()
  }

  static func byDay(_ buffers: [SealedRows]) -> [Int32: [DayMerge.Part]] {
    var parts: [Int32: [DayMerge.Part]] = [:]
    for buffer in buffers {
      var indices: [Int32: [UInt32]] = [:]
      for (row, day) in buffer.rows.day.enumerated() {
        indices[day, default: []].append(UInt32(row))
      }
      for (day, rows) in indices {
        parts[day, default: []].append(DayMerge.Part(rows: buffer.rows, indices: rows))
      }
    }
    return parts
  }

  /// Days of a range that have events.
  func days(in range: Range<Int>) -> ArraySlice<Int32> {
    let lower = days.partitioningIndex { Int($0) >= range.lowerBound }
    let upper = days.partitioningIndex { Int($0) >= range.upperBound }
    return days[lower..<max(lower, upper)]
  }

  /// Rows of a day, about, without reading it.
  func rowCount(_ day: Int32) -> Int {
    let unsealedRows = unsealed[day]?.reduce(0) { $0 + $1.indices.count } ?? 0
    return unsealedRows + (snapshot.segments[day]?.rows ?? 0)
  }

  /// Whether the day's columns are in memory already, for all queries together.
  func isCached(_ day: Int32) -> Bool {
    guard unsealed[day] == nil, let segment = snapshot.segments[day] else { return false }
    return engine.cache.day(segment) != nil
  }

  func begin(of day: Int32) -> Int64 { snapshot.calendar.start(ofDay: Int(day)) }

  /// Reads a day, as the app's table of scenes has it now.
  func load(_ day: Int32) throws -> DayColumns {
    try control.check()
    var columns = try read(day)
    columns.apply(snapshot.exclusion)
    return columns
  }

  private func read(_ day: Int32) throws -> DayColumns {
    let segment = snapshot.segments[day]
    guard let parts = unsealed[day] else {
      guard let segment else { return DayColumns(day: day, beginMilliseconds: begin(of: day)) }
      return try sealed(segment)
    }
    let below = try segment.map { segment in
      var needs = needs
      needs.sequence = true
      return try engine.store.read { try DayLoader.load(segment, needs, from: $0) }
    }
    var merge = DayMerge(
      sealed: below ?? DayColumns(day: day, beginMilliseconds: begin(of: day)), parts: parts,
      wantsFields: needs.wants)
    return merge.merged()
  }

  private func sealed(_ segment: Segment) throws -> DayColumns {
    let wanted = needs.fields.intersection(segment.fields)
    if let cached = engine.cache.day(segment), wanted.isSubset(of: cached.fields.keys),
      cached.exclusion == snapshot.exclusion
    {
      return cached
    }
    var day = try engine.store.read { try DayLoader.load(segment, needs, from: $0) }
    day.apply(snapshot.exclusion)
    engine.cache.insert(segment, day)
    return day
  }
}
