import Messages

extension ProtoPlannedEvent {
  /// Its definition is collected for everybody from now on; another version where the content is another one.
  mutating func publish(now: Int64) {
    testUsers = []
    defer { state = .published }
    guard !hasPublished || published != definition else { return }
    published = definition
    version += 1
    publishedMs = now
  }

  /// Nothing of it is collected any more; what its version counts goes on.
  mutating func archive() {
    state = .archived
    testUsers = []
    clearPublished()
  }
}
