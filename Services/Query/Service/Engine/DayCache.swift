import Events
import Synchronization

/// A day of which some rows are not sealed yet, put together as far as one query saw it. The next one adds what has come
/// since, so that a hundred questions of today do not merge today a hundred times.
struct MixedDay: Sendable {
  struct Key: Hashable, Sendable {
    let app: Int64
    let day: Int32
  }

  /// What all the rows but those that came later depend on.
  struct Version: Equatable, Sendable {
    let segment: Int64?
    /// Of the unsealed rows: another one where rows were taken away.
    let generation: UInt64
    let exclusion: SceneExclusion
  }

  let day: DayColumns
  /// How many of the day's unsealed rows, in the order of the log, it holds.
  let rows: Int
  /// Fields that were asked for, whether or not some event has them.
  let fields: Set<UInt32>
}

/// Decoded days that queries share, bounded by bytes. What has not been used for long is thrown away first, then anything:
/// were it the least recently used one, a question of more days than fit would find none of them, each time.
final class DayCache: Sendable {
  private enum Key: Hashable {
    case sealed(Int64)
    case mixed(MixedDay.Key)
    case facts(Int64)
    case opens(Int64)
    case rows(Int64, Set<UInt32>)
    case part(Int64, Set<UInt32>)
    case found(Int64, Set<UInt32>)
    /// Without events: of all.
    case runs(Int64, Set<UInt32>?)

    /// nil: of several.
    var segment: Int64? {
      switch self {
      case .sealed(let id), .facts(let id), .opens(let id), .rows(let id, _),
        .part(let id, _), .found(let id, _), .runs(let id, _): id
      case .mixed: nil
      }
    }
  }

  private enum Content {
    case sealed(DayColumns)
    case mixed(MixedDay, MixedDay.Version)
    case facts(DayFacts, SceneExclusion)
    case opens(DayOpens)
    /// Of a day the rows of some events; nil: they are too many to be kept apart.
    case part(DayColumns?)
    case rows([UInt32], users: [UInt32])
    /// nil: too many.
    case found(FoundRows?)
    case runs(EventRuns)
  }

  private struct Entry {
    var content: Content
    var bytes: Int
    var lastUse: UInt64
  }

  private struct State {
    var entries: [Key: Entry] = [:]
    var bytes = 0
    var clock: UInt64 = 0
    /// Segments that were read for a part of them and are not kept themselves.
    var readForParts: Set<Int64> = []

    mutating func use(_ key: Key) -> Content? {
      clock += 1
      entries[key]?.lastUse = clock
      return entries[key]?.content
    }

    mutating func insert(_ key: Key, _ content: Content, _ bytes: Int, _ bytesMax: Int) {
      remove(key)
      guard bytes <= bytesMax / 2 else { return }
      clock += 1
      entries[key] = Entry(content: content, bytes: bytes, lastUse: clock)
      self.bytes += bytes
      while self.bytes > bytesMax, removeOne(but: key) {}
    }

    mutating func remove(_ key: Key) {
      guard let entry = entries.removeValue(forKey: key) else { return }
      bytes -= entry.bytes
    }

    /// - Parameter kept: what has just been put in.
    mutating func removeOne(but kept: Key) -> Bool {
      guard let oldest = entries.min(by: { $0.value.lastUse < $1.value.lastUse }) else {
        return false
      }
      let isOld = clock - oldest.value.lastUse > UInt64(4 * entries.count)
      let chosen = isOld ? oldest.key : entries.keys.filter { $0 != kept }.randomElement()
      remove(chosen ?? kept)
      return true
    }
  }

  private let state = Mutex(State())
  private let bytesMax: Int
  /// One reads a day at a time: whoever comes second finds it in the cache.
  private let turns = TurnLocks()

  init(bytesMax: Int) { self.bytesMax = bytesMax }

  var byteCount: Int { state.withLock { $0.bytes } }

  /// A sealed day with all that is asked for.
  ///
  /// - Parameters:
  ///   - isForPart: a part of it will be kept (`part`, `runs`): the day itself is kept only where this is not the first time. Memory
  ///     that is filled and not kept costs far less than new memory.
  ///   - read: reads what is asked for, beside what is known already.
  /// - Returns: the day, and whether nothing had to be read.
  func sealed(
    _ segment: Segment, _ needs: DayNeeds, _ exclusion: SceneExclusion, isForPart: Bool = false,
    read: (DayNeeds, DayColumns?) throws -> DayColumns
  ) throws -> (DayColumns, isKnown: Bool) {
    if let known = known(segment), known.exclusion == exclusion,
      DayLoader.holds(known, needs, of: segment)
    {
      return (known, true)
    }
    return try turns.with(Int(truncatingIfNeeded: segment.id)) {
      let known = known(segment)
      if let known, known.exclusion == exclusion, DayLoader.holds(known, needs, of: segment) {
        return (known, true)
      }
      var needs = needs
      let made = known == nil ? segment.exclusion : known?.exclusion
      if made != exclusion { needs.addScene() }
      var day = try read(needs, known)
      if day.exclusion != exclusion { day.apply(exclusion) }
      state.withLock { state in
        if isForPart, known == nil, state.readForParts.insert(segment.id).inserted { return }
        state.insert(.sealed(segment.id), .sealed(day), day.byteCount, bytesMax)
      }
      return (day, false)
    }
  }

  /// Keeps a day that was read for a part of it.
  func keep(_ day: DayColumns, of segment: Segment) {
    state.withLock { $0.insert(.sealed(segment.id), .sealed(day), day.byteCount, bytesMax) }
  }

  func holds(_ segment: Segment) -> Bool { known(segment) != nil }

  private func known(_ segment: Segment) -> DayColumns? {
    guard case .sealed(let day)? = state.withLock({ $0.use(.sealed(segment.id)) }) else {
      return nil
    }
    return day
  }

  /// A day with so many of its unsealed rows.
  ///
  /// - Parameter merge: makes it with these fields, of one that holds fewer rows where there is one.
  func mixed(
    _ key: MixedDay.Key, _ version: MixedDay.Version, rows: Int, fields: Set<UInt32>,
    merge: (MixedDay?, Set<UInt32>) throws -> MixedDay
  ) throws -> (DayColumns, isKnown: Bool) {
    func latest() -> MixedDay? {
      guard case .mixed(let known, version)? = state.withLock({ $0.use(.mixed(key)) }) else {
        return nil
      }
      return known
    }
    if let known = latest(), known.rows == rows, fields.isSubset(of: known.fields) {
      return (known.day, true)
    }
    return try turns.with(key.hashValue) {
      let known = latest()
      let fits = known.map { $0.rows <= rows && fields.isSubset(of: $0.fields) } ?? false
      if let known, fits, known.rows == rows { return (known.day, true) }
      // Fields that others asked for stay in it, so that questions that take turns do not merge it anew each time.
      let made = try merge(fits ? known : nil, fields.union(known?.fields ?? []))
      precondition(made.rows == rows, "a snapshot's rows do not change")
      let bytes = made.day.byteCount
      state.withLock { state in
        // A query that began later may have left a newer one.
        if case .mixed(let other, version)? = state.entries[.mixed(key)]?.content,
          other.rows > rows
        {
          return
        }
        state.insert(.mixed(key), .mixed(made, version), bytes, bytesMax)
      }
      return (made.day, false)
    }
  }

  // MARK: What is made of sealed days

  func facts(
    _ segment: Segment, _ exclusion: SceneExclusion, make: () throws -> DayFacts
  ) throws -> DayFacts {
    if case .facts(let facts, exclusion)? = state.withLock({ $0.use(.facts(segment.id)) }) {
      return facts
    }
    let facts = try make()
    state.withLock {
      $0.insert(.facts(segment.id), .facts(facts, exclusion), facts.byteCount, bytesMax)
    }
    return facts
  }

  func opens(_ segment: Segment, _ rules: SessionRules, make: () -> DayOpens) -> DayOpens {
    func known() -> DayOpens? {
      guard case .opens(let opens)? = state.withLock({ $0.use(.opens(segment.id)) }) else {
        return nil
      }
      return opens.rules == rules ? opens : nil
    }
    if let known = known() { return known }
    return turns.with(Int(truncatingIfNeeded: segment.id)) {
      if let known = known() { return known }
      let opens = make()
      state.withLock {
        $0.insert(.opens(segment.id), .opens(opens), opens.byteCount, bytesMax)
      }
      return opens
    }
  }

  func holdsOpens(_ segment: Segment, _ rules: SessionRules) -> Bool {
    guard case .opens(let opens)? = state.withLock({ $0.use(.opens(segment.id)) }) else {
      return false
    }
    return opens.rules == rules
  }

  /// The rows of some events, and their users.
  func rows(_ segment: Segment, _ events: Set<UInt32>) -> (rows: [UInt32], users: [UInt32])? {
    guard
      case .rows(let rows, let users)? = state.withLock({ $0.use(.rows(segment.id, events)) })
    else { return nil }
    return (rows, users)
  }

  /// Keeps them where they are few of the day's: all the others are found as fast again.
  func insert(_ segment: Segment, _ events: Set<UInt32>, rows: [UInt32], users: [UInt32]) {
    guard rows.count <= segment.rows / Limits.rareEventShare else { return }
    state.withLock {
      $0.insert(
        .rows(segment.id, events), .rows(rows, users: users), rows.count * 8 + 256, bytesMax)
    }
  }

  /// The rows of some events as a day of their own.
  ///
  /// - Parameters:
  ///   - holds: whether a part that is known has all that is asked for.
  ///   - make: nil where the rows are many of the day's: such are not kept.
  /// - Returns: nil: they are many.
  func part(
    _ segment: Segment, _ events: Set<UInt32>, holds: (DayColumns) -> Bool,
    make: () throws -> DayColumns?
  ) rethrows -> DayColumns? {
    let key = Key.part(segment.id, events)
    if case .part(let known)? = state.withLock({ $0.use(key) }) {
      guard let known else { return nil }
      if holds(known) { return known }
    }
    let part = try make()
    state.withLock { $0.insert(key, .part(part), (part?.byteCount ?? 0) + 256, bytesMax) }
    return part
  }

  /// Runs of rows with some events.
  ///
  /// - Parameters:
  ///   - events: nil: every event.
  ///   - holds: whether those that are known have all that is asked for.
  func runs(
    _ segment: Segment, _ events: Set<UInt32>?, holds: (DayColumns) -> Bool,
    make: () throws -> EventRuns
  ) rethrows -> EventRuns {
    let key = Key.runs(segment.id, events)
    if case .runs(let known)? = state.withLock({ $0.use(key) }), holds(known.day) { return known }
    let runs = try make()
    state.withLock { $0.insert(key, .runs(runs), runs.byteCount + 256, bytesMax) }
    return runs
  }

  /// The rows of some events with what a walk asks of them.
  ///
  /// - Parameter make: nil where the rows are too many to be kept.
  func found(
    _ segment: Segment, _ events: Set<UInt32>, make: () throws -> FoundRows?
  ) rethrows -> FoundRows? {
    let key = Key.found(segment.id, events)
    if case .found(let known)? = state.withLock({ $0.use(key) }) { return known }
    let found = try make()
    state.withLock { $0.insert(key, .found(found), (found?.byteCount ?? 0) + 256, bytesMax) }
    return found
  }

  func holdsFound(_ segment: Segment, _ events: Set<UInt32>) -> Bool {
    state.withLock { $0.use(.found(segment.id, events)) } != nil
  }

  /// Forgets all that is known of a segment.
  func remove(_ segmentID: Int64) {
    state.withLock { state in
      for key in state.entries.keys where key.segment == segmentID { state.remove(key) }
      state.readForParts.remove(segmentID)
    }
  }

  /// Gives all memory back: when nobody has asked for a while.
  func removeAll() { state.withLock { $0 = State() } }
}

/// Locks by number: equal numbers exclude each other.
private final class TurnLocks: Sendable {
  private static let count = 64
  private final class Turn: Sendable {
    let mutex = Mutex(())
  }

  private let turns = (0..<count).map { _ in Turn() }

  func with<Result>(_ number: Int, _ body: () throws -> Result) rethrows -> Result {
    try turns[Int(UInt(bitPattern: number) % UInt(Self.count))].mutex.withLock { _ in try body() }
  }
}
