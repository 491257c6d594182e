import Events

/// A field that no event brings: what the app's table of scenes and its channels make of an event's context.
///
/// As of the names of contexts, a name of this list means this field even where an event has a field of the same name.
enum SourceField: String, Sendable {
  /// The key of WeChat's data API. Missing where the scene is unknown.
  case sourceKey = "source_key"
  /// The first of the app's channel groups that matches, else the channel of the scene, else `other`.
  case channel

  var type: FieldType {
    switch self {
    case .sourceKey: .number
    case .channel: .text
    }
  }
}

/// Answers a source field for the contexts of days, by the sources that a snapshot has.
final class SourceColumn: Sendable {
  let field: SourceField
  private let app: AppState
  private let sources: AppSources
  private static let fields: [ContextField] = [.scene, .campaignSource, .campaignMedium, .qrID]
  /// Of contexts: all that may decide a value.
  static let columns = fields.map { field -> Int in
    guard let position = ContextColumns.position(field) else {
      preconditionFailure("\(field.name) is in no column")
    }
    return position
  }

  /// What of a context decides its channel, as words of its columns.
  private struct Words: Hashable {
    let scene: UInt32
    let texts: [UInt32]
  }

  init(_ field: SourceField, _ snapshot: AppSnapshot) {
    self.field = field
    app = snapshot.app
    sources = snapshot.definition.sources
  }

  /// The value of each context of a day; nil: missing.
  func values(_ day: DayColumns) -> [FieldValue?] {
    switch field {
    case .sourceKey: sourceKeys(day)
    case .channel: channels(day)
    }
  }

  private func sourceKeys(_ day: DayColumns) -> [FieldValue?] {
    day.contextColumn(Self.columns[0]).map { scene in
      scene == 0 ? nil : .integer(Int64(sources.scenes.sourceKey(Int(scene))))
    }
  }

  /// Each combination is decided once; without groups of the app's own, the scene decides alone.
  private func channels(_ day: DayColumns) -> [FieldValue?] {
    let scenes = day.contextColumn(Self.columns[0])
    let texts = (sources.groups.isEmpty ? [] : Self.columns[1...]).map { day.contextColumn($0) }
    var known: [Words: FieldValue] = [:]
    return scenes.indices.map { number in
      let words = Words(scene: scenes[number], texts: texts.map { $0[number] })
      if let value = known[words] { return value }
      let value = FieldValue.text(sources.channel(of: input(words)))
      known[words] = value
      return value
    }
  }

  private func input(_ words: Words) -> ChannelInput {
    guard !words.texts.isEmpty else { return ChannelInput(scene: Int(words.scene)) }
    let texts = app.texts(.values, words.texts)
    return ChannelInput(
      scene: Int(words.scene), campaignSource: texts[0], campaignMedium: texts[1], qrID: texts[2])
  }
}
