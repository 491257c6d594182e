import Events
import Synchronization

/// Where a field's values stand in a day.
enum FieldSource: Sendable {
  /// A code per row.
  case event
  case page
  /// The user's own id.
  case user
  case releaseChannel
  /// A column of the contexts.
  case context(Int, FieldType)
  /// What the app's sources make of a context.
  case source(SourceColumn)
  /// A field of the events: its codes, one for each type that it was seen with.
  case fields([(code: UInt32, kind: BatchField.Kind)])

  /// Finds the field of a name.
  ///
  /// - Throws: INVALID_ARGUMENT where this app has no such field: never an empty answer.
  init(_ name: String, in snapshot: AppSnapshot, asked: String) throws(QueryError) {
    if let field = ContextField(name: name) {
      self = Self.source(field)
      return
    }
    if let field = SourceField(rawValue: name) {
      self = .source(SourceColumn(field, snapshot))
      return
    }
    let app = snapshot.app
    let codes = app.tables.withLock { tables in
      (1..<tables[.fields].count).compactMap { code -> (UInt32, BatchField.Kind)? in
        guard let key = FieldKey(text: tables[.fields].text(UInt32(code))), key.name == name else {
          return nil
        }
        return (UInt32(code), key.kind)
      }
    }
    guard !codes.isEmpty else {
      throw .invalid(asked, "no field \"\(name.prefix(64))\": neither a default field, nor of the context, nor of any event")
    }
    self = .fields(codes.map { (code: $0.0, kind: $0.1) })
  }

  private static func source(_ field: ContextField) -> FieldSource {
    switch field {
    case .eventName: return .event
    case .pagePath: return .page
    case .openID: return .user
    case .releaseChannel: return .releaseChannel
    default:
      guard let position = ContextColumns.position(field) else {
        preconditionFailure("\(field.name) is in no column")
      }
      return .context(position, field.kind == .text ? .text : .number)
    }
  }

  /// The types that its values may have.
  var types: Set<FieldType> {
    switch self {
    case .event, .page, .user, .releaseChannel: [.text]
    case .context(_, let type): [type]
    case .source(let column): [column.field.type]
    case .fields(let codes): Set(codes.map { FieldKey(kind: $0.kind, name: "").type })
    }
  }

  /// Columns that a scan must read for it.
  var fieldCodes: Set<UInt32> {
    if case .fields(let codes) = self { return Set(codes.map(\.code)) }
    return []
  }

  static func channelName(_ flags: UInt8) -> String {
    (ReleaseChannel(rawValue: RowFlags(rawValue: flags).traffic.channel) ?? .release).name
  }
}
