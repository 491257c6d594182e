import Events
import Messages
import RPC
import SwiftProtobuf

/// What an app may look like (ingest.proto, `App`).
enum AppRules {
  /// The app with its defaults filled in.
  ///
  /// - Throws: INVALID_ARGUMENT that names the field.
  static func normalized(_ app: ProtoApp, created: Int64) throws(RPCError) -> ProtoApp {
    guard AppID(app.appID) != nil else {
      throw IngestErrors.invalid(
        "app_id", "must match ^[a-z0-9][a-z0-9_-]{0,63}$; got \"\(app.appID.prefix(128))\"")
    }
    try checkLength("name", app.name)
    var app = app
    switch app.platform {
    case .unspecified: app.platform = .wechat
    case .UNRECOGNIZED(let number):
      throw IngestErrors.invalid("platform", "must be WECHAT, ALIPAY or OTHER; got \(number)")
    case .wechat, .alipay, .other: break
    }
    if app.timeZone.isEmpty { app.timeZone = AppCalendar.defaultIdentifier }
    guard AppCalendar(app.timeZone) != nil else {
      throw IngestErrors.invalid("time_zone", "no IANA time zone is called \"\(app.timeZone)\"")
    }
    try normalizeRules(&app)
    app.createdMs = created
    app.unknownFields = .init()
    return app
  }

  private static func normalizeRules(_ app: inout ProtoApp) throws(RPCError) {
    guard app.hasSessionRules else {
      app.sessionRules.mergeUnderMs = SessionRules.classic.mergeUnderMilliseconds
      app.sessionRules.timeoutMs = SessionRules.classic.timeoutMilliseconds
      return
    }
    do throws(RuleViolation) {
      _ = try SessionRules(
        mergeUnderMilliseconds: app.sessionRules.mergeUnderMs,
        timeoutMilliseconds: app.sessionRules.timeoutMs)
    } catch {
      throw IngestErrors.refused(error)
    }
  }

  static func checkLength(_ field: String, _ text: String) throws(RPCError) {
    guard text.utf8.count <= Limits.nameBytesMax else {
      throw IngestErrors.invalid(
        field, "at most \(Limits.nameBytesMax) bytes; got \(text.utf8.count) bytes")
    }
  }

  /// Whether two apps have the same settings, whenever they were made.
  static func same(_ a: ProtoApp, _ b: ProtoApp) -> Bool {
    var a = a
    a.createdMs = b.createdMs
    return a == b
  }
}
