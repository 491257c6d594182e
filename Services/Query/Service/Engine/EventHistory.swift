import Events
import Store

/// All events of an app but those of the transaction that is being made, as they were at one moment.
struct EventHistory: Sendable {
  private let segments: [Segment]
  private let buffers: [SealedRows]
  /// Of dropped days only the times that were known are left.
  private let known: UserTimes
  private let keptFromMilliseconds: Int64?

  init(_ tables: borrowing AppTables) {
    segments = tables.segments.values.sorted { $0.day < $1.day }
    buffers =
      tables.frozen
      + (tables.tail.isEmpty ? [] : [SealedRows(tables.tail, lastBlock: tables.lastBlock)])
    known = tables.times
    keptFromMilliseconds =
      tables.droppedBefore == .min
      ? nil : tables.calendar.start(ofDay: Int(tables.droppedBefore))
  }

  /// When each user was first active, by traffic class. Cost: reads every day once.
  func firstActiveTimes(
    _ exclusion: SceneExclusion, from connection: StoreConnection
  ) throws -> UserTimes {
    var times = UserTimes()
    if let keptFromMilliseconds { times.take(from: known, before: keptFromMilliseconds) }
    for segment in segments {
      var needs = DayNeeds(rows: .time, contexts: [])
      if segment.exclusion != exclusion { needs.addScene() }
      var day = try DayLoader.load(segment, needs, from: connection)
      day.apply(exclusion)
      for position in day.users.indices {
        for row in day.rows(ofUserAt: position) {
          let flags = RowFlags(rawValue: day.flags[row])
          if !flags.isPassive { times.note(day.users[position], flags.traffic, at: day.time(row)) }
        }
      }
    }
    for buffer in buffers {
      let rows = buffer.rows
      let allFlags = exclusion.flags(rows.flags, rows.context, rows.contexts)
      for row in 0..<rows.count {
        let flags = RowFlags(rawValue: allFlags[row])
        if !flags.isPassive { times.note(rows.user[row], flags.traffic, at: rows.time[row]) }
      }
    }
    return times
  }
}
