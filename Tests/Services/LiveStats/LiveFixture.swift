import Events
import Foundation
import LiveStats
import Logging
import Messages
import Store
import Subscription
import SwiftProtobuf
import Synchronization
import TestKit

/// A store with an applier, and events put into it as the log would.
final class LiveFixture {
  static let appID = "shop"
  /// A minute's beginning, so that tests can count from it.
  static let now: Int64 = 1_763_790_000_000

  let folder: URL
  let clock = TestClock(LiveFixture.now)
  let rules: SessionRules
  let retentionMinutes: Int64
  private(set) var store: Store
  private(set) var applier = LiveApplier()
  private(set) var scrub: ErasureScrub

  init(rules: SessionRules = .classic, retentionMinutes: Int64 = 2_880) throws {
    self.rules = rules
    self.retentionMinutes = retentionMinutes
    folder = FileManager.default.temporaryDirectory.appending(path: "live-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    store = try Self.open(folder)
    scrub = try ErasureScrub(store: store)
  }

  deinit {
    store.close()
    // A folder that stays is no failure of the test.
    try? FileManager.default.removeItem(at: folder)
  }

  private static func open(_ folder: URL) throws -> Store {
    try Store(
      path: folder.appending(path: "live.sqlite").path, options: StoreOptions(durability: .normal),
      migrations: [Migration(1, LiveSchema.statements), Migration(2, ErasureScrub.statements)])
  }

  /// As after a crash: everything in memory is gone.
  func restart() throws {
    store.close()
    store = try Self.open(folder)
    scrub = try ErasureScrub(store: store)
    applier = LiveApplier()
  }

  /// As the log's record of an erasure does.
  @discardableResult
  func erase(_ user: String) throws -> [LiveApplier.Change] {
    let changes = try store.write { connection in
      try applier.erase(
        appID: Self.appID, horizonMinute: view.horizonMinute, connection: connection,
        rules: { LiveApplier.AppRules(session: rules, exclusions: DefaultExclusions(platform: "wechat")) },
        where: { $0.elementsEqual(user.utf8) })
      try scrub.note(in: connection)
      return try applier.flush(connection)
    }
    scrub.didCommit()
    return changes
  }

  /// Every byte of the store's files.
  func files() throws -> Data {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).reduce(into: Data()) {
      $0 += try Data(contentsOf: folder.appending(path: $1))
    }
  }

  var view: LiveView {
    LiveView(retentionMinutes: retentionMinutes, clock: { [clock] in clock.now }) { [clock] _ in
      LogPosition(nextOffset: 7, lastReceivedMilliseconds: clock.now)
    }
  }

  /// One transaction.
  ///
  /// - Parameter scenes: the table of scenes from the second batch on, where it changes.
  @discardableResult
  func commit(
    _ batches: [ProtoCollectRequest], appID: String = LiveFixture.appID, then scenes: SceneTable? = nil
  ) throws -> [LiveApplier.Change] {
    let reader = BatchReader()
    let horizon = view.horizonMinute
    return try store.write { connection in
      for (index, batch) in batches.enumerated() {
        if index == 1, let scenes {
          applier.change(
            LiveApplier.AppRules(session: rules, exclusions: DefaultExclusions(scenes: scenes)),
            ofApp: appID)
        }
        let bytes: [UInt8] = try batch.serializedBytes()
        try bytes.withUnsafeBytes { message in
          try reader.read(message)
          try applier.apply(
            appID: appID, reader, message: message,
            clock: EventClock(received: 0, offset: 0, isImport: true), horizonMinute: horizon,
            connection: connection
          ) {
            LiveApplier.AppRules(session: rules, exclusions: DefaultExclusions(platform: "wechat"))
          }
        }
      }
      return try applier.flush(connection)
    }
  }

  func read<T>(_ body: (inout LiveReader) throws -> T) throws -> T {
    try store.read { connection in
      var reader = try view.reader(connection, appID: Self.appID)
      return try body(&reader)
    }
  }

  func series(_ range: SeriesRange, page: String = "") throws -> [LivePoint] {
    try read { try $0.series(page: try $0.page(page), range) }
  }
}

/// The wall clock of a test, ms since 1970.
final class TestClock: Sendable {
  private let milliseconds: Mutex<Int64>

  init(_ start: Int64) { milliseconds = Mutex(start) }

  var now: Int64 { milliseconds.withLock { $0 } }

  func advance(_ by: Int64) { milliseconds.withLock { $0 += by } }
}

/// One event as a test thinks of it.
struct Fact {
  var user: String
  var time: Int64
  var name = "$page_view"
  var page = ""
  var sequence: UInt64 = 0
  var isPassive = false
  var scene: Int32 = 0
  var channel = ProtoReleaseChannel.unspecified

  var event: ProtoEvent {
    var event = ProtoEvent()
    event.name = name
    event.timeMs = time
    event.pagePath = page
    event.sequence = sequence
    event.passive = isPassive
    if scene != 0 || channel != .unspecified {
      event.context.scene = scene
      event.context.releaseChannel = channel
    }
    return event
  }
}

extension ProtoCollectRequest {
  /// A batch of the first fact's user; facts of others say so themselves.
  init(_ facts: [Fact]) {
    self.init()
    context.openID = facts.first?.user ?? ""
    events = facts.map { fact in
      var event = fact.event
      if fact.user != context.openID { event.context.openID = fact.user }
      return event
    }
  }
}
