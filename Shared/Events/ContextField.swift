/// A field that every event has beside its own: the 16 default fields (SEMANTICS 1), the rest of the context, and the
/// event's name. The raw value is the number in the message `Context`, where it has one.
///
/// In a filter or a breakdown a name of this list means this field, even where an event has a field of the same name.
package enum ContextField: UInt8, CaseIterable, Sendable {
  case openID = 1
  case country = 2
  case province = 3
  case city = 4
  case gender = 5
  case device = 6
  case networkType = 7
  case deviceWidth = 8
  case deviceHeight = 9
  case osName = 10
  case osVersion = 11
  case language = 12
  case manufacturer = 13
  case deviceModel = 14
  case deviceBrand = 15
  case scene = 16
  case platform = 17
  case appVersion = 18
  case hostVersion = 19
  case sdkVersion = 20
  case referrerAppID = 21
  case qrID = 22
  case campaignSource = 23
  case campaignMedium = 24
  case campaignName = 25
  case campaignContent = 26
  case campaignTerm = 27
  case shareID = 28
  case releaseChannel = 29
  case age = 30
  /// Of the event, not of its context.
  case pagePath = 32
  /// Of the event, not of its context.
  case eventName = 33

  /// The fields that the message `Context` holds.
  package static let inContext: [ContextField] = allCases.filter { $0.rawValue < 31 }

  /// Bit `rawValue` is set for each field of the message `Context` that holds an integer. For the decoder.
  static let integerNumbers: UInt64 = 1 << 8 | 1 << 9 | 1 << 16 | 1 << 29 | 1 << 30

  package enum Kind: Sendable {
    case text
    case integer
  }

  package var kind: Kind {
    switch self {
    case .deviceWidth, .deviceHeight, .scene, .releaseChannel, .age: .integer
    default: .text
    }
  }

  /// As filters, breakdowns and answers call it.
  package var name: String {
    switch self {
    case .openID: "open_id"
    case .country: "country"
    case .province: "province"
    case .city: "city"
    case .gender: "gender"
    case .device: "device"
    case .networkType: "network_type"
    case .deviceWidth: "device_width"
    case .deviceHeight: "device_height"
    case .osName: "os_name"
    case .osVersion: "os_version"
    case .language: "language"
    case .manufacturer: "manufacturer"
    case .deviceModel: "device_model"
    case .deviceBrand: "device_brand"
    case .scene: "scene"
    case .platform: "platform"
    case .appVersion: "app_version"
    case .hostVersion: "host_version"
    case .sdkVersion: "sdk_version"
    case .referrerAppID: "referrer_app_id"
    case .qrID: "qr_id"
    case .campaignSource: "campaign_source"
    case .campaignMedium: "campaign_medium"
    case .campaignName: "campaign_name"
    case .campaignContent: "campaign_content"
    case .campaignTerm: "campaign_term"
    case .shareID: "share_id"
    case .releaseChannel: "release_channel"
    case .age: "age"
    case .pagePath: "page_path"
    case .eventName: "event"
    }
  }

  private static let byName = Dictionary(
    uniqueKeysWithValues: allCases.map { ($0.name, $0) })

  package init?(name: String) {
    guard let field = Self.byName[name] else { return nil }
    self = field
  }
}

/// Which build of the mini program sent an event.
package enum ReleaseChannel: UInt8, CaseIterable, Sendable {
  case release = 1
  case trial = 2
  case develop = 3

  /// From the number on the wire, where 0 means release. nil: a number that does not exist.
  package init?(wire: Int64) {
    guard wire > 0 else {
      guard wire == 0 else { return nil }
      self = .release
      return
    }
    guard wire <= 3 else { return nil }
    self.init(rawValue: UInt8(wire))
  }

  /// As filters call it.
  package var name: String {
    switch self {
    case .release: "release"
    case .trial: "trial"
    case .develop: "develop"
    }
  }
}
