package import Subscription

/// What the watchers of one app and page see: the newest points, each with the version in which it changed. Watchers of any
/// speed are served from it: none of them has a queue.
package struct WatchTopic {
  private struct Versioned {
    var point: LivePoint
    var version: UInt64
  }

  /// What a refresh has to read.
  struct Work: Sendable, Equatable {
    /// All of the last hour, because nothing is known yet.
    var isFirst: Bool
    var minutes: Set<Int64>
    /// The running minute of the last refresh: those that began since are news too.
    var lastMinute: Int64
  }

  /// What a refresh has read.
  struct Fresh: Sendable {
    /// nil: nobody has been on the page yet.
    var page: UInt32?
    var points: [LivePoint]
    var users5Minutes: UInt64
    var users30Minutes: UInt64
    var basis: LiveBasis
    var position: LogPosition
    var nowMinute: Int64
  }

  /// One message for one watcher.
  package struct Update: Sendable {
    package var version: UInt64
    package var points: [LivePoint]
    package var users5Minutes: UInt64
    package var users30Minutes: UInt64
    package var basis: LiveBasis
    package var position: LogPosition
  }

  /// nil: not known yet; the next refresh looks again.
  private(set) var page: UInt32?
  private var changed: Set<Int64> = []
  private var isFirst = true
  private var version: UInt64 = 0
  private var points: [Int64: Versioned] = [:]
  private var latest: Fresh?
  var watchers: [UInt64: AsyncStream<Void>.Continuation] = [:]

  /// Whether a refresh has something to do.
  var isDue: Bool { isFirst || !changed.isEmpty }

  /// Notes minutes that changed, of this page or of one whose number is not known yet.
  mutating func note(_ minute: Int64, page: UInt32) {
    if let own = self.page {
      if own == page { changed.insert(minute) }
    } else if page != 0 {
      // It may be the page that is waited for.
      changed.insert(minute)
    }
  }

  /// The clock came to another minute: users leave the windows, and a new bucket begins.
  mutating func noteMinutePassed(_ minute: Int64) { changed.insert(minute) }

  mutating func takeWork() -> Work {
    defer {
      changed.removeAll()
      isFirst = false
    }
    return Work(
      isFirst: isFirst, minutes: changed, lastMinute: latest?.nowMinute ?? Int64.max)
  }

  /// The refresh failed: what it took is due again.
  mutating func giveBack(_ work: Work) {
    changed.formUnion(work.minutes)
    isFirst = isFirst || work.isFirst
  }

  /// Takes in what was read and wakes the watchers where something changed.
  mutating func publish(_ fresh: Fresh, horizonMinute: Int64) {
    version += 1
    page = fresh.page
    var isNews = latest == nil || latest?.users5Minutes != fresh.users5Minutes
      || latest?.users30Minutes != fresh.users30Minutes
    for point in fresh.points where points[point.beginMinute]?.point != point {
      points[point.beginMinute] = Versioned(point: point, version: version)
      isNews = true
    }
    points = points.filter { $0.key >= horizonMinute }
    latest = fresh
    guard isNews else { return }
    for watcher in watchers.values { watcher.yield() }
  }

  /// What a watcher is to be sent. nil: nothing is known yet.
  ///
  /// - Parameter seen: the version of its last message, 0: none, which asks for the last 60 minutes.
  func update(after seen: UInt64) -> Update? {
    guard let latest else { return nil }
    let first = latest.nowMinute - LiveLimits.watchMinutes + 1
    let due = points.values.filter {
      $0.version > seen && (seen > 0 || $0.point.beginMinute >= first)
    }
    return Update(
      version: version, points: due.map(\.point).sorted { $0.beginMinute < $1.beginMinute },
      users5Minutes: latest.users5Minutes, users30Minutes: latest.users30Minutes,
      basis: latest.basis, position: latest.position)
  }
}
