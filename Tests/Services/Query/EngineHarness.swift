import Events
import Foundation
import Messages
import Query
import Store
import SwiftProtobuf
import TestKit

/// A query engine over a file of its own, fed as the log feeds it.
final class EngineHarness {
  let folder: URL
  private(set) var definition: AppDefinition
  private(set) var store: Store
  private(set) var engine: QueryEngine
  private var appender: RowAppender
  private(set) var position = AppliedPosition()

  init(_ definition: AppDefinition) throws {
    self.definition = definition
    folder = FileManager.default.temporaryDirectory
      .appendingPathComponent("footfall-query-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    store = try Self.open(folder)
    engine = try QueryEngine(store: store)
    appender = RowAppender(engine: engine)
    try transaction { try engine.define(definition, in: $0) }
  }

  deinit {
    store.close()
    try? FileManager.default.removeItem(at: folder)
  }

  private static func open(_ folder: URL) throws -> Store {
    try Store(
      path: folder.appendingPathComponent("query.sqlite").path,
      options: StoreOptions(durability: .normal, givesSpaceBack: true),
      migrations: QueryEngine.migrations(from: 1)
        + QueryEngine.laterMigrations(from: QueryEngine.migrationCount + 1))
  }

  /// As after a crash: what is in memory is gone.
  func reopen() throws {
    store.close()
    store = try Self.open(folder)
    engine = try QueryEngine(store: store)
    appender = RowAppender(engine: engine)
  }

  func transaction(_ body: (StoreConnection) throws -> Void) throws {
    do {
      try store.write { connection in
        try body(connection)
        try engine.willCommit(position, in: connection)
      }
    } catch {
      engine.didRollBack()
      throw error
    }
    engine.didCommit(position)
  }

  /// Gives the app other scenes and channels.
  func redefine(_ sources: AppSources) throws {
    definition = AppDefinition(
      appID: definition.appID, platform: definition.platform, timeZone: definition.timeZone,
      sessionRules: definition.sessionRules, sources: sources)
    try transaction { try engine.define(definition, in: $0) }
  }

  /// The same in the middle of a transaction that brings batches too.
  func redefine(
    _ sources: AppSources, between batches: [[ReferenceEvent]], and later: [[ReferenceEvent]],
    receivedMilliseconds: Int64
  ) throws {
    definition = AppDefinition(
      appID: definition.appID, platform: definition.platform, timeZone: definition.timeZone,
      sessionRules: definition.sessionRules, sources: sources)
    position.receivedMilliseconds = receivedMilliseconds
    position.nextOffset += UInt64((batches + later).reduce(0) { $0 + $1.count })
    try transaction {
      try append(batches, receivedMilliseconds)
      try engine.define(definition, in: $0)
      try append(later, receivedMilliseconds)
    }
  }

  /// A change whose transaction fails before its commit.
  func redefineAndFail(_ sources: AppSources) throws {
    struct Failure: Error {}
    do {
      try transaction {
        try engine.define(
          AppDefinition(
            appID: definition.appID, platform: definition.platform, timeZone: definition.timeZone,
            sessionRules: definition.sessionRules, sources: sources), in: $0)
        throw Failure()
      }
    } catch is Failure {}
  }

  /// Another app in the same service.
  func addApp(_ appID: String) throws {
    let other = AppDefinition(
      appID: appID, platform: "wechat", timeZone: "UTC", sessionRules: .classic)
    try transaction { try engine.define(other, in: $0) }
  }

  /// Applies batches of another app.
  func apply(_ batches: [[ReferenceEvent]], to appID: String) throws {
    position.nextOffset += UInt64(batches.reduce(0) { $0 + $1.count })
    try transaction { _ in try append(batches, position.receivedMilliseconds, appID) }
  }

  /// Takes what the log says of a user's erasure.
  func erase(_ user: String) throws {
    try transaction {
      try engine.erase(definition.appID, in: $0) { $0.elementsEqual(user.utf8) }
    }
  }

  /// Applies batches, each of one user, in one transaction.
  ///
  /// - Parameter isCounted: whether the position goes on by the events.
  func apply(
    _ batches: [[ReferenceEvent]], receivedMilliseconds: Int64, isCounted: Bool = true
  ) throws {
    position.receivedMilliseconds = receivedMilliseconds
    if isCounted { position.nextOffset += UInt64(batches.reduce(0) { $0 + $1.count }) }
    try transaction { _ in try append(batches, receivedMilliseconds) }
  }

  /// The same, but the transaction fails before its commit.
  func applyAndFail(_ batches: [[ReferenceEvent]], receivedMilliseconds: Int64) throws {
    struct Failure: Error {}
    do {
      try transaction { _ in
        try append(batches, receivedMilliseconds)
        throw Failure()
      }
    } catch is Failure {}
  }

  private func append(
    _ batches: [[ReferenceEvent]], _ received: Int64, _ appID: String? = nil
  ) throws {
    for batch in batches {
      let bytes: [UInt8] = try Self.encode(batch).serializedBytes()
      let clock = EventClock(received: received, offset: 0, isImport: true)
      try bytes.withUnsafeBytes {
        try appender.append($0, appID: appID ?? definition.appID, clock: clock)
      }
    }
  }

  static func encode(_ batch: [ReferenceEvent]) -> ProtoCollectRequest {
    var request = ProtoCollectRequest()
    // The first event's context is the batch's, the others say where they differ.
    request.context = context(batch[0])
    request.events = batch.map { event in
      var proto = ProtoEvent()
      proto.name = event.name
      proto.timeMs = event.time
      proto.pagePath = event.page ?? ""
      proto.sequence = event.sequence
      proto.passive = event.isPassive
      let own = context(event)
      if own != request.context { proto.context = own }
      proto.fields = event.fields.sorted { $0.key < $1.key }.map { name, value in
        var field = ProtoField()
        field.name = name
        switch value {
        case .text(let text): field.value.stringValue = text
        case .integer(let number): field.value.integerValue = number
        case .double(let number): field.value.doubleValue = number
        case .boolean(let flag): field.value.booleanValue = flag
        }
        return field
      }
      return proto
    }
    return request
  }

  private static func context(_ event: ReferenceEvent) -> ProtoContext {
    var context = ProtoContext()
    context.openID = event.user
    context.scene = event.scene
    context.releaseChannel =
      switch event.channel {
      case "trial": .trial
      case "develop": .develop
      default: .release
      }
    for (name, value) in event.context {
      switch (name, value) {
      case ("platform", .text(let text)): context.platform = text
      case ("province", .text(let text)): context.province = text
      case ("campaign_source", .text(let text)): context.campaignSource = text
      case ("share_id", .text(let text)): context.shareID = text
      case ("age", .integer(let number)): context.age = Int32(number)
      default: preconditionFailure("the harness knows no context field \(name)")
      }
    }
    return context
  }
}
