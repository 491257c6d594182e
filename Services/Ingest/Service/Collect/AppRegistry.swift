import Synchronization

/// One app as the hot path needs it.
final class AppEntry: Sendable {
  let appID: String
  /// Its number in the store's tables.
  let number: Int64
  let types: Mutex<FieldTypes>
  /// Whether `types` holds what is not written down. Set under the lock of `types`, before a batch that relies on a
  /// new type can reach the writer.
  let hasUnsavedTypes = Atomic<Bool>(false)

  init(appID: String, number: Int64, types: FieldTypes = FieldTypes()) {
    self.appID = appID
    self.number = number
    self.types = Mutex(types)
  }
}

/// The apps that there are. They are added after they are durable, and never removed.
final class AppRegistry: Sendable {
  private let entries = Mutex<[String: AppEntry]>([:])

  func add(_ entry: AppEntry) { entries.withLock { $0[entry.appID] = entry } }

  /// Where two calls made the same app, both may come here: the first entry stays.
  func addIfAbsent(_ entry: AppEntry) {
    entries.withLock { entries in
      if entries[entry.appID] == nil { entries[entry.appID] = entry }
    }
  }

  subscript(appID: String) -> AppEntry? { entries.withLock { $0[appID] } }

  var count: Int { entries.withLock { $0.count } }
}
