package import Events

/// One event as user-profile sees it.
package struct UserEvent: Sendable, Equatable {
  package var timeMilliseconds: Int64
  package var sequence: UInt64
  package var mark: OpenMark
  package var isPageView: Bool
  /// Sent by a server: counts as an event, but does not make the user active and is in no open.
  package var isPassive: Bool

  package init(
    timeMilliseconds: Int64, sequence: UInt64 = 0, mark: OpenMark = .none,
    isPageView: Bool = false, isPassive: Bool = false
  ) {
    self.timeMilliseconds = timeMilliseconds
    self.sequence = sequence
    self.mark = mark
    self.isPageView = isPageView
    self.isPassive = isPassive
  }
}

/// All that is kept of one user.
package struct UserState: Sendable, Equatable {
  /// Dense number within the app, from 0.
  package let user: UInt32
  /// 0: never active.
  package private(set) var firstActiveMilliseconds: Int64 = 0
  package private(set) var lastActiveMilliseconds: Int64 = 0
  /// Of an event that is counted, server-sent ones included. 0: none.
  package private(set) var lastEventMilliseconds: Int64 = 0
  package private(set) var pageViews: UInt64 = 0
  package private(set) var events: UInt64 = 0
  /// Events left out by the default exclusions, by reason.
  package private(set) var excluded = ExcludedCounts()
  /// The same events by day. Those that an earlier release counted are not among them.
  package private(set) var counted = CountedDays()
  package private(set) var days = ActiveDays()
  package var attributes = UserAttributes()
  package private(set) var timeline = OpenTimeline()

  package init(user: UInt32) { self.user = user }

  /// Counts an event that is not excluded.
  ///
  /// - Parameter day: of the event's time, in the app's zone.
  /// - Returns: whether the user was not yet active on that day.
  package mutating func count(_ event: UserEvent, day: Int32, rules: SessionRules) -> Bool {
    events += 1
    counted.count(day)
    lastEventMilliseconds = max(lastEventMilliseconds, event.timeMilliseconds)
    if event.isPageView { pageViews += 1 }
    guard !event.isPassive else { return false }
    timeline.insert(
      OpenTimeline.Entry(
        timeMilliseconds: event.timeMilliseconds, sequence: event.sequence, mark: event.mark),
      rules: rules)
    let time = event.timeMilliseconds
    if firstActiveMilliseconds == 0 || time < firstActiveMilliseconds {
      firstActiveMilliseconds = time
    }
    lastActiveMilliseconds = max(lastActiveMilliseconds, time)
    return days.insert(day)
  }

  /// Counts an event that is left out.
  package mutating func count(excluded reason: ExclusionReason, day: Int32) {
    excluded.count(reason)
    counted.count(day, excluded: reason)
  }

  package func opens(_ rules: SessionRules) -> UInt64 { timeline.openCount(rules) }

  // MARK: Bytes

  /// Version 1 ended with the timeline.
  private static let version: UInt64 = 2

  package mutating func encode(into writer: inout PackedWriter, rules: SessionRules) {
    timeline.foldIfFull(rules)
    writer.unsigned(Self.version)
    writer.unsigned(UInt64(user))
    writer.signed(firstActiveMilliseconds)
    writer.signed(lastActiveMilliseconds)
    writer.unsigned(pageViews)
    writer.unsigned(events)
    writer.unsigned(excluded.scene)
    writer.unsigned(excluded.channel)
    days.encode(into: &writer)
    attributes.encode(into: &writer)
    timeline.encode(into: &writer)
    writer.signed(lastEventMilliseconds &- lastActiveMilliseconds)
    counted.encode(into: &writer)
  }

  package init(from bytes: UnsafeRawBufferPointer) throws(PackedError) {
    var reader = PackedReader(bytes)
    let version = try reader.unsigned()
    guard (1...Self.version).contains(version) else { throw PackedError() }
    guard let user = UInt32(exactly: try reader.unsigned()) else { throw PackedError() }
    self.user = user
    firstActiveMilliseconds = try reader.signed()
    lastActiveMilliseconds = try reader.signed()
    pageViews = try reader.unsigned()
    events = try reader.unsigned()
    excluded.scene = try reader.unsigned()
    excluded.channel = try reader.unsigned()
    days = try ActiveDays(from: &reader)
    attributes = try UserAttributes(from: &reader)
    timeline = try OpenTimeline(from: &reader)
    lastEventMilliseconds = lastActiveMilliseconds
    if version > 1 {
      lastEventMilliseconds = lastActiveMilliseconds &+ (try reader.signed())
      counted = try CountedDays(from: &reader)
    }
    guard reader.isAtEnd else { throw PackedError() }
  }
}

/// Events that the default exclusions of SEMANTICS 1 left out.
package struct ExcludedCounts: Sendable, Equatable {
  /// Crawlers, load tests: scenes that the table marks.
  package var scene: UInt64 = 0
  /// Other channels than `release`.
  package var channel: UInt64 = 0

  package init(scene: UInt64 = 0, channel: UInt64 = 0) {
    self.scene = scene
    self.channel = channel
  }
}

extension ExcludedCounts {
  package mutating func count(_ reason: ExclusionReason) {
    switch reason {
    case .scene: scene += 1
    case .releaseChannel: channel += 1
    }
  }
}
