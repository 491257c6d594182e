import Crypto
import Foundation
import Messages
import SwiftProtobuf

extension ProtoEventDefinition {
  /// With its defaults filled in, so that what means the same is the same: the Chinese name in NFC, no value left
  /// unspecified that has a default, default fields in their order, nothing that this version does not know.
  func normalized() -> ProtoEventDefinition {
    var definition = self
    definition.unknownFields = .init()
    definition.chineseName = chineseName.precomposedStringWithCanonicalMapping
    if method == .unspecified { definition.method = hasManual ? .manual : .api }
    if hasManual { definition.manual = manual.normalized() }
    for index in fields.indices { definition.fields[index].unknownFields = .init() }
    let order = DefaultFields.all.map(\.name)
    let chosen = Set(defaultFields)
    // An entry that is wrong, or there twice, stays for the check to find.
    if chosen.count == defaultFields.count, chosen.isSubset(of: order) {
      definition.defaultFields = chosen.count == order.count ? [] : order.filter(chosen.contains)
    }
    return definition
  }

  /// Stands for the content in the memory of what was checked.
  func fingerprint() throws -> [UInt8] {
    let bytes: [UInt8] = try serializedBytes()
    return Array(SHA256.hash(data: bytes))
  }

  /// What an SDK carries out; nil: nothing, the mini program's own code sends the event.
  func tracked(version: UInt32, inTest: Bool) -> ProtoTrackedEvent? {
    guard method == .manual else { return nil }
    var event = ProtoTrackedEvent()
    event.name = name
    event.version = version
    event.manual = manual
    event.fields = fields
    event.inTest = inTest
    return event
  }
}

extension ProtoManualConfiguration {
  fileprivate func normalized() -> ProtoManualConfiguration {
    var manual = self
    manual.unknownFields = .init()
    if template == .unspecified { manual.template = .blank }
    if reportType == .unspecified { manual.reportType = .oneTime }
    for index in actions.indices {
      manual.actions[index].unknownFields = .init()
      if actions[index].trigger == .unspecified, let trigger = manual.template.trigger {
        manual.actions[index].trigger = trigger
      }
      // Each action of a one-time event reports.
      if manual.reportType == .oneTime, actions[index].step == .unspecified {
        manual.actions[index].step = .report
      }
      for place in actions[index].data.indices {
        manual.actions[index].data[place].unknownFields = .init()
      }
    }
    return manual
  }
}

extension ProtoEventTemplate {
  /// The trigger that the template fixes.
  var trigger: ProtoTrigger? {
    switch self {
    case .enterPage: .enterPage
    case .exitPage: .leavePage
    case .share: .share
    case .unspecified, .blank, .UNRECOGNIZED: nil
    }
  }
}

extension ProtoTrigger {
  /// Of the mini program as a whole: no page is needed.
  var isOfApp: Bool { [.launch, .background, .foreground].contains(self) }

  /// As the field calls it.
  var word: String {
    switch self {
    case .unspecified: "unspecified"
    case .click: "click"
    case .enterPage: "enterPage"
    case .leavePage: "leavePage"
    case .pageLoad: "pageLoad"
    case .pageUnload: "pageUnload"
    case .pullDownRefresh: "pullDownRefresh"
    case .launch: "launch"
    case .background: "background"
    case .foreground: "foreground"
    case .share: "share"
    case .switchTab: "switchTab"
    case .UNRECOGNIZED(let number): "\(number)"
    }
  }
}

extension ProtoEventState {
  var word: String {
    switch self {
    case .unspecified: "-"
    case .draft: "draft"
    case .checked: "checked"
    case .test: "test"
    case .published: "published"
    case .archived: "archived"
    case .UNRECOGNIZED(let number): "\(number)"
    }
  }
}
