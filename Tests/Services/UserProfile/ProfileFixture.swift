import Events
import Foundation
import Messages
import Store
import Subscription
import SwiftProtobuf
import TestKit
import UserProfile

/// A store with an applier, and events put into it as the log would.
final class ProfileFixture {
  static let appID = "shop"

  let folder: URL
  let calendar: AppCalendar
  let rules: SessionRules
  private(set) var store: Store
  private(set) var applier = ProfileApplier()
  private(set) var scrub: ErasureScrub

  init(rules: SessionRules = .classic, zone: String = "Asia/Shanghai") throws {
    struct NoZone: Error {}
    guard let calendar = AppCalendar(zone) else { throw NoZone() }
    self.calendar = calendar
    self.rules = rules
    folder = FileManager.default.temporaryDirectory.appending(path: "profile-\(UUID().uuidString)")
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
      path: folder.appending(path: "profile.sqlite").path,
      options: StoreOptions(durability: .normal),
      migrations: [Migration(1, ProfileSchema.statements), Migration(2, ErasureScrub.statements)])
  }

  /// As after a crash: everything in memory is gone.
  func restart() throws {
    store.close()
    store = try Self.open(folder)
    scrub = try ErasureScrub(store: store)
    applier = ProfileApplier()
  }

  /// As the log's record of an erasure does.
  func erase(_ user: String) throws {
    try store.write { connection in
      let wasKnown = try applier.erase(
        appID: Self.appID, connection: connection,
        rules: {
          ProfileApplier.AppRules(
            calendar: calendar, session: rules, exclusions: DefaultExclusions(platform: "wechat"))
        }, where: { $0.elementsEqual(user.utf8) })
      if wasKnown { try scrub.note(in: connection) }
      try applier.flush(connection)
    }
    scrub.didCommit()
  }

  func latestMilliseconds() throws -> Int64 {
    try store.read { try ProfileReader($0, appID: Self.appID).latestMilliseconds }
  }

  /// Every byte of the store's files.
  func files() throws -> Data {
    try FileManager.default.contentsOfDirectory(atPath: folder.path).reduce(into: Data()) {
      $0 += try Data(contentsOf: folder.appending(path: $1))
    }
  }

  /// One transaction.
  ///
  /// - Parameter scenes: the table of scenes from the second batch on, where it changes.
  func commit(_ batches: [ProtoCollectRequest], then scenes: SceneTable? = nil) throws {
    let reader = BatchReader()
    try store.write { connection in
      for (index, batch) in batches.enumerated() {
        if index == 1, let scenes {
          applier.change(
            ProfileApplier.AppRules(
              calendar: calendar, session: rules, exclusions: DefaultExclusions(scenes: scenes)),
            ofApp: Self.appID)
        }
        let bytes: [UInt8] = try batch.serializedBytes()
        try bytes.withUnsafeBytes { message in
          try reader.read(message)
          try applier.apply(
            appID: Self.appID, reader, message: message,
            clock: EventClock(received: 0, offset: 0, isImport: true), connection: connection
          ) {
            ProfileApplier.AppRules(
              calendar: calendar, session: rules,
              exclusions: DefaultExclusions(platform: "wechat"))
          }
        }
      }
      try applier.flush(connection)
    }
  }

  func user(_ openID: String) throws -> UserState? {
    try store.read { try ProfileReader($0, appID: Self.appID).user(openID) }
  }

  func portrait(_ days: ClosedRange<Int32>) throws -> (active: RawPortrait, new: RawPortrait) {
    try store.read { try ProfileReader($0, appID: Self.appID).portrait(days) }
  }

  func totals(_ days: ClosedRange<Int32>) throws -> DayTotals {
    try store.read { try ProfileReader($0, appID: Self.appID).totals(days) }
  }

  func day(_ time: Int64) -> Int32 { Int32(calendar.day(at: time)) }
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
  var gender = ""
  var province = ""
}

/// Facts that share a batch and its context.
struct FactBatch {
  var gender = ""
  var province = ""
  var facts: [Fact]

  /// Each fact with the context that holds for it.
  var resolved: [Fact] {
    facts.map { fact in
      var fact = fact
      if fact.gender.isEmpty { fact.gender = gender }
      if fact.province.isEmpty { fact.province = province }
      return fact
    }
  }

  var message: ProtoCollectRequest {
    var request = ProtoCollectRequest()
    request.context.openID = facts.first?.user ?? ""
    request.context.gender = gender
    request.context.province = province
    request.events = facts.map { fact in
      var event = ProtoEvent()
      event.name = fact.name
      event.timeMs = fact.time
      event.pagePath = fact.page
      event.sequence = fact.sequence
      event.passive = fact.isPassive
      var own = ProtoContext()
      if fact.user != request.context.openID { own.openID = fact.user }
      own.scene = fact.scene
      own.releaseChannel = fact.channel
      own.gender = fact.gender
      own.province = fact.province
      if own != ProtoContext() { event.context = own }
      return event
    }
    return request
  }
}
