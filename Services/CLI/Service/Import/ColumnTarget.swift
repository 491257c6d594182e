package import Messages

/// Where a column's values go.
package enum ColumnTarget: Sendable, Hashable {
  case name, time, pagePath, eventID, openID, passive, ignored
  case context(ContextColumn)
  case experiment(String)
  case field(String, FieldKind)

  /// Parses `name time page_path event_id open_id passive -`, the name of a context field, `experiments.NAME`, or
  /// `fields.NAME[:string|integer|double|boolean]`.
  package init(_ text: String) throws(LineProblem) {
    switch text {
    case "name": self = .name
    case "time", "time_ms": self = .time
    case "page_path": self = .pagePath
    case "event_id": self = .eventID
    case "open_id": self = .openID
    case "passive": self = .passive
    case "-": self = .ignored
    default:
      if let column = ContextColumn(rawValue: text) {
        self = .context(column)
      } else if text.hasPrefix("experiments.") {
        self = .experiment(String(text.dropFirst("experiments.".count)))
      } else if text.hasPrefix("fields.") {
        self = try Self.field(text.dropFirst("fields.".count))
      } else {
        throw LineProblem(
          "bad_target",
          "\"\(text)\" is no target: name, time, open_id, page_path, event_id, passive, -, "
            + "fields.NAME[:TYPE], experiments.NAME, or one of "
            + ContextColumn.allCases.map(\.rawValue).joined(separator: " "))
      }
    }
  }

  private static func field(_ text: Substring) throws(LineProblem) -> ColumnTarget {
    let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
    let name = String(parts[0])
    guard FieldName.isValid(name) else {
      throw LineProblem(
        "bad_target", "fields.\(name): a field's name matches ^[a-z][a-z0-9_]{0,31}$")
    }
    guard parts.count == 2 else { return .field(name, .asWritten) }
    guard let kind = FieldKind(rawValue: String(parts[1])), kind != .asWritten else {
      throw LineProblem(
        "bad_target", "fields.\(text): the type is string, integer, double or boolean")
    }
    return .field(name, kind)
  }
}

/// The type that a field's values get.
package enum FieldKind: String, Sendable, Hashable {
  case string, integer, double, boolean
  /// CSV: string. JSON: the value's own type.
  case asWritten = "as_written"
}

/// The rule for names of fields and custom events.
package enum FieldName {
  package static func isValid(_ name: String) -> Bool {
    guard (1...32).contains(name.utf8.count), let first = name.utf8.first,
      (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(first)
    else { return false }
    return name.utf8.allSatisfy(isAllowed)
  }

  /// The nearest valid name: `Unit Price` becomes `unit_price`.
  package static func nearest(_ name: String) -> String {
    var result = name.lowercased().utf8.map { isAllowed($0) ? $0 : UInt8(ascii: "_") }
    if result.first.map({ !(UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0) }) ?? true {
      result.insert(contentsOf: Array("f_".utf8), at: 0)
    }
    return String(decoding: result.prefix(32), as: UTF8.self)
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
      UInt8(ascii: "_"):
      true
    default: false
    }
  }
}

/// A context field that a column can fill, under its name in filters and breakdowns.
package enum ContextColumn: String, Sendable, CaseIterable {
  case country, province, city, gender, device
  case networkType = "network_type"
  case deviceWidth = "device_width"
  case deviceHeight = "device_height"
  case osName = "os_name"
  case osVersion = "os_version"
  case language, manufacturer
  case deviceModel = "device_model"
  case deviceBrand = "device_brand"
  case scene, platform
  case appVersion = "app_version"
  case hostVersion = "host_version"
  case sdkVersion = "sdk_version"
  case referrerAppID = "referrer_app_id"
  case qrID = "qr_id"
  case campaignSource = "campaign_source"
  case campaignMedium = "campaign_medium"
  case campaignName = "campaign_name"
  case campaignContent = "campaign_content"
  case campaignTerm = "campaign_term"
  case shareID = "share_id"
  case releaseChannel = "release_channel"
  case age

  /// Sets the field. Throws where the value does not fit it.
  package func set(_ value: CellValue, in context: inout ProtoContext) throws(LineProblem) {
    switch self {
    case .deviceWidth: context.deviceWidth = try integer(value)
    case .deviceHeight: context.deviceHeight = try integer(value)
    case .scene: context.scene = try integer(value)
    case .age: context.age = try integer(value)
    case .releaseChannel: context.releaseChannel = try channel(value)
    default: setText(value.text, in: &context)
    }
  }

  private func setText(_ text: String, in context: inout ProtoContext) {
    switch self {
    case .country: context.country = text
    case .province: context.province = text
    case .city: context.city = text
    case .gender: context.gender = text
    case .device: context.device = text
    case .networkType: context.networkType = text
    case .osName: context.osName = text
    case .osVersion: context.osVersion = text
    case .language: context.language = text
    case .manufacturer: context.manufacturer = text
    case .deviceModel: context.deviceModel = text
    case .deviceBrand: context.deviceBrand = text
    case .platform: context.platform = text
    case .appVersion: context.appVersion = text
    case .hostVersion: context.hostVersion = text
    case .sdkVersion: context.sdkVersion = text
    case .referrerAppID: context.referrerAppID = text
    case .qrID: context.qrID = text
    case .campaignSource: context.campaignSource = text
    case .campaignMedium: context.campaignMedium = text
    case .campaignName: context.campaignName = text
    case .campaignContent: context.campaignContent = text
    case .campaignTerm: context.campaignTerm = text
    case .shareID: context.shareID = text
    case .deviceWidth, .deviceHeight, .scene, .age, .releaseChannel:
      preconditionFailure("\(rawValue) is not text")
    }
  }

  private func integer(_ value: CellValue) throws(LineProblem) -> Int32 {
    guard let wide = value.integer, let integer = Int32(exactly: wide) else {
      throw LineProblem("wrong_type", field: rawValue, "\"\(value.text)\" is not a whole number")
    }
    return integer
  }

  private func channel(_ value: CellValue) throws(LineProblem) -> ProtoReleaseChannel {
    switch value.text {
    case "release": .release
    case "trial": .trial
    case "develop": .develop
    default:
      throw LineProblem(
        "out_of_range", field: rawValue, "\"\(value.text)\" is none of release, trial, develop")
    }
  }
}

extension CellValue {
  /// The value as it would stand in a CSV file.
  package var text: String {
    switch self {
    case .text(let text): text
    case .integer(let integer): String(integer)
    case .double(let double): String(double)
    case .boolean(let boolean): boolean ? "true" : "false"
    }
  }

  /// nil where it is no whole number of 64 bits.
  package var integer: Int64? {
    switch self {
    case .text(let text): Int64(text)
    case .integer(let integer): integer
    case .double(let double): Int64(exactly: double)
    case .boolean: nil
    }
  }

  /// nil where it is no finite number.
  package var double: Double? {
    switch self {
    case .text(let text): Double(text).flatMap { $0.isFinite ? $0 : nil }
    case .integer(let integer): Double(integer)
    case .double(let double): double
    case .boolean: nil
    }
  }

  /// nil where it is neither of true/false, yes/no, 1/0.
  package var boolean: Bool? {
    switch text.lowercased() {
    case "true", "yes", "1": true
    case "false", "no", "0": false
    default: nil
    }
  }
}
