package import Messages

extension ProtoAnswerInfo {
  /// What stands below a table: what the figures include and what they leave out.
  package var notes: String {
    var parts = ["as of offset \(NumberText.grouped(asOfOffset))"]
    if asOfEventTimeMs != 0 {
      parts.append("last event \(NumberText.time(asOfEventTimeMs, zone: timeZone)) \(timeZone)")
    } else {
      parts.append(timeZone)
    }
    parts.append("\(NumberText.grouped(eventsRead)) events read")
    for left in excluded where left.events > 0 {
      parts.append("\(NumberText.grouped(left.events)) left out by \(left.reason)")
    }
    if !complete { parts.append("not over yet") }
    return parts.joined(separator: " · ")
  }
}

extension ProtoFieldValue {
  /// The value as text; empty where there is none.
  package var text: String {
    switch kind {
    case .stringValue(let text): text
    case .integerValue(let integer): String(integer)
    case .doubleValue(let double): String(double)
    case .booleanValue(let boolean): boolean ? "true" : "false"
    case nil: ""
    }
  }

  /// A value of a breakdown: `(missing)` where the field is absent.
  package static func label(_ value: ProtoFieldValue?, isOther: Bool) -> String {
    if isOther { return "(other)" }
    guard let value, value.kind != nil else { return "(missing)" }
    return value.text.isEmpty ? "\"\"" : value.text
  }
}
