import Events
import Synchronization

/// One app as the hot path needs it.
final class AppEntry: Sendable {
  let appID: String
  /// Its number in the store's tables.
  let number: Int64
  /// Cuts its days.
  let calendar: AppCalendar
  let door = AppDoor()
  let types: Mutex<FieldTypes>
  /// Its plan, and what it sends.
  let tracking: AppTracking
  /// Whether `types` holds what is not written down. Set under the lock of `types`, before a batch that relies on a
  /// new type can reach the writer.
  let hasUnsavedTypes = Atomic<Bool>(false)
  /// Bytes of its batches that wait for the writer. Changed under the lock of the writer's queue only.
  let queuedBytes = Atomic<Int>(0)

  init(
    appID: String, number: Int64, calendar: AppCalendar, types: FieldTypes = FieldTypes(),
    tracking: AppTracking
  ) {
    self.appID = appID
    self.number = number
    self.calendar = calendar
    self.tracking = tracking
    self.types = Mutex(types)
  }
}

/// The apps that there are. They are added after they are durable, and never removed.
final class AppRegistry: Sendable {
  private let entries = Mutex<[String: AppEntry]>([:])
  /// One per zone: making one takes milliseconds.
  private let calendars = Mutex<[String: AppCalendar]>([:])

  func add(_ entry: AppEntry) { entries.withLock { $0[entry.appID] = entry } }

  /// Where two calls made the same app, both may come here: the first entry stays.
  func addIfAbsent(_ entry: AppEntry) {
    entries.withLock { entries in
      if entries[entry.appID] == nil { entries[entry.appID] = entry }
    }
  }

  subscript(appID: String) -> AppEntry? { entries.withLock { $0[appID] } }

  /// The calendar of a zone that was valid when the app was made; where the system has lost it since, the default one.
  func calendar(_ identifier: String) -> AppCalendar {
    calendars.withLock { calendars in
      if let known = calendars[identifier] { return known }
      guard let made = AppCalendar(identifier) ?? AppCalendar(AppCalendar.defaultIdentifier) else {
        preconditionFailure("the system knows \(AppCalendar.defaultIdentifier)")
      }
      calendars[identifier] = made
      return made
    }
  }

  var all: [AppEntry] { entries.withLock { Array($0.values) } }

  var count: Int { entries.withLock { $0.count } }
}
