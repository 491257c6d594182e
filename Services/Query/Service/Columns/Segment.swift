import Synchronization

/// A sealed day on disk. While anybody holds it, its columns stay readable, even after a newer one took its place.
final class Segment: Sendable {
  let id: Int64
  let day: Int32
  let beginMilliseconds: Int64
  let rows: Int
  /// Time of the latest event, ms since 1970.
  let lastMilliseconds: Int64
  /// Fields that events of the day have.
  let fields: [UInt32]
  /// Of its layout.
  let version: Int64
  /// How many columns a context had when it was written.
  let contextColumns: Int
  /// Contexts, and which of their columns some context has. Version 1 does not say.
  let contexts: Int
  let contextPositions: Set<Int>
  /// By which its flags say whether a scene counts. nil: by the one in force when the rows were received.
  let exclusion: SceneExclusion?
  /// How many rows have which flags, by flags; the classes of traffic that have active users. nil: not stored.
  let flagCounts: [Int]
  let activeClasses: Set<Int>?
  /// When this process first knew of it.
  let writtenAt = ContinuousClock.now
  private let compressed: Atomic<Bool>

  init(
    id: Int64, day: Int32, beginMilliseconds: Int64, rows: Int, lastMilliseconds: Int64,
    fields: [UInt32], version: Int64, contextColumns: Int, contexts: Int,
    contextPositions: Set<Int>, exclusion: SceneExclusion?,
    flagCounts: [Int], activeClasses: Set<Int>?, isCompressed: Bool = false
  ) {
    self.id = id
    self.day = day
    self.beginMilliseconds = beginMilliseconds
    self.rows = rows
    self.lastMilliseconds = lastMilliseconds
    self.fields = fields
    self.version = version
    self.contextColumns = contextColumns
    self.contexts = contexts
    self.contextPositions = contextPositions
    self.exclusion = exclusion
    self.flagCounts = flagCounts
    self.activeClasses = activeClasses
    compressed = Atomic(isCompressed)
  }

  var isCompressed: Bool { compressed.load(ordering: .relaxed) }
  func setCompressed() { compressed.store(true, ordering: .relaxed) }
}

/// Which column of a segment. The numbers are part of the format on disk.
enum SegmentColumn: Hashable, Sendable {
  case users, userCounts, time, sequence, event, page, rowContext, flags
  /// Of version 1: all columns of the contexts in one.
  case contextWords
  /// The active users of a class of traffic.
  case active(Int)
  /// One column of the contexts.
  case context(Int)
  case fieldRows(UInt32)
  case fieldValues(UInt32)

  var number: Int64 {
    switch self {
    case .users: 1
    case .userCounts: 2
    case .time: 3
    case .sequence: 4
    case .event: 5
    case .page: 6
    case .rowContext: 7
    case .flags: 8
    case .contextWords: 9
    case .active(let traffic): 20 + Int64(traffic)
    case .context(let position): 100 + Int64(position)
    case .fieldRows(let field): 1_000 + Int64(field) * 2
    case .fieldValues(let field): 1_001 + Int64(field) * 2
    }
  }
}
