import Events
import Synchronization

/// One app of the engine.
final class AppState: Sendable {
  /// Its number in the file.
  let id: Int64
  let appID: String
  let tables: Mutex<AppTables>

  init(id: Int64, definition: AppDefinition, calendar: AppCalendar) {
    self.id = id
    appID = definition.appID
    tables = Mutex(AppTables(definition: definition, calendar: calendar))
  }

  /// The texts of codes of a dictionary. Takes the lock once.
  func texts(_ kind: DictionaryKind, _ codes: some Sequence<UInt32>) -> [String] {
    unpack(kind)
    return tables.withLock { tables in codes.map { tables[kind].text($0) } }
  }

  /// Unpacks a dictionary of which strings are about to be asked for: outside of the lock, because it may take a while.
  func unpack(_ kind: DictionaryKind) {
    guard let packed = tables.withLock({ $0.packedStrings(kind) }) else { return }
    packed.unpack()
    tables.withLock { $0[kind].unpack() }
  }

  /// One more than the highest code of a dictionary.
  func codeCount(_ kind: DictionaryKind) -> Int { tables.withLock { $0[kind].count } }

  func code(_ kind: DictionaryKind, of text: String) -> UInt32? {
    unpack(kind)
    return tables.withLock { $0[kind].existing(text) }
  }
}

/// What one query sees of an app: it does not change while the query runs.
struct AppSnapshot: Sendable {
  let app: AppState
  let definition: AppDefinition
  let calendar: AppCalendar
  /// Unsealed rows, in the order of the log.
  let buffers: [SealedRows]
  /// Which unsealed rows they are the last of: another one where some were taken away.
  let generation: UInt64
  let segments: [Int32: Segment]
  let times: UserTimes
  /// By which `times` were made, and days are read.
  let exclusion: SceneExclusion
  /// One more than the highest code of a user.
  let userCount: Int
  let fieldCount: Int
  /// One more than the highest code of a page.
  let pageCount: Int
  let position: AppliedPosition
  /// 0: no events.
  let lastEventMilliseconds: Int64
  let coverage: DayCoverage

  var rules: SessionRules { definition.sessionRules }

  /// Of the days before it only the users' first times are left; nil: nothing was dropped.
  var keptFromMilliseconds: Int64? {
    coverage.droppedBefore == .min ? nil : calendar.start(ofDay: coverage.droppedBefore)
  }

  /// Takes the parts that are shared without copying; what is written after it is copied then, a buffer or a chunk at a
  /// time.
  init(_ app: AppState, position: AppliedPosition) {
    self = app.tables.withLock { tables in
      let buffers = tables.visibleBuffers()
      return AppSnapshot(app, tables, buffers, position)
    }
  }

  private init(
    _ app: AppState, _ tables: borrowing AppTables, _ buffers: [SealedRows], _ position: AppliedPosition
  ) {
    self.app = app
    self.position = position
    definition = tables.definition
    calendar = tables.calendar
    self.buffers = buffers
    generation = tables.generation
    segments = tables.segments
    times = tables.times
    exclusion = tables.exclusion
    userCount = tables[.users].count
    fieldCount = tables[.fields].count
    pageCount = tables[.pages].count
    lastEventMilliseconds = tables.lastEventMilliseconds
    coverage = DayCoverage(droppedBefore: tables.droppedBefore)
  }
}

/// How far the log has been applied.
package struct AppliedPosition: Sendable, Equatable {
  /// The next offset to apply.
  package var nextOffset: UInt64
  /// Receipt time of the last record, ms since 1970.
  package var receivedMilliseconds: Int64

  package init(nextOffset: UInt64 = 0, receivedMilliseconds: Int64 = 0) {
    self.nextOffset = nextOffset
    self.receivedMilliseconds = receivedMilliseconds
  }
}
