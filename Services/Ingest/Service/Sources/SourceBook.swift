import Messages
import RPC
import Store
import SwiftProtobuf

/// Where the events of an app come from: its scenes, channels, QR codes and campaigns. What is here is applied when a
/// question is asked; events keep the raw values that they brought.
struct SourceBook: Sendable {
  let writer: LogWriter
  let store: Store

  /// Who changes something, and when.
  struct Author: Sendable {
    let tokenID: String
    let now: Int64
  }

  /// An app as these tables know it.
  struct AppFacts: Sendable {
    let number: Int64
    let appID: String
    let platform: ProtoPlatform

    /// As `Events` calls it.
    var platformName: String { SourceRules.name(platform) }
  }

  /// - Throws: NOT_FOUND.
  static func app(_ appID: String, _ connection: StoreConnection) throws -> AppFacts {
    let row = try connection.first("SELECT number, body FROM app WHERE app_id = ?", [.text(appID)]) {
      ($0.int64(0), $0.bytes(1))
    }
    guard let (number, body) = row else { throw IngestErrors.unknownApp(appID) }
    let app = try ProtoApp(serializedBytes: body)
    return AppFacts(number: number, appID: appID, platform: app.platform)
  }

  /// Runs a change in the next transaction. It may refuse with an `RPCError` as long as it has written nothing; any other
  /// error is a failure of the log.
  func change<T: Sendable>(
    _ body: @escaping @Sendable (LogAppender, StoreConnection) throws -> T
  ) async throws -> T {
    try await writer.change { appender, connection -> Result<T, RPCError> in
      do {
        return .success(try body(appender, connection))
      } catch let refusal as RPCError {
        return .failure(refusal)
      }
    }.get()
  }

  func read<T: Sendable>(
    _ appID: String, _ body: @escaping @Sendable (AppFacts, StoreConnection) throws -> T
  ) async throws -> T {
    try await store.readDetached { try body(Self.app(appID, $0), $0) }
  }

  /// Sends a change to the services.
  static func append(
    _ change: ProtoSourceRecord.OneOf_Change, of app: AppFacts, _ author: Author,
    _ appender: LogAppender, _ connection: StoreConnection
  ) throws {
    var record = ProtoSourceRecord()
    record.change = change
    try appender.append(
      .source, app: app.appID, received: author.now, record.serializedBytes(), connection)
  }
}
