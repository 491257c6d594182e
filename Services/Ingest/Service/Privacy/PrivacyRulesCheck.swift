import Events
import Messages
import RPC
import SwiftProtobuf

/// What an app's rules may look like (privacy.proto, `PrivacyRules`), and what the hot path makes of them.
enum PrivacyRulesCheck {
  /// The rules with their defaults filled in.
  ///
  /// - Throws: INVALID_ARGUMENT that names the field.
  static func normalized(_ rules: ProtoPrivacyRules) throws(RPCError) -> ProtoPrivacyRules {
    var rules = rules
    rules.unknownFields = .init()
    switch rules.consentDefault {
    case .unspecified: rules.consentDefault = .assumeGranted
    case .UNRECOGNIZED(let number):
      throw IngestErrors.invalid(
        "consent_default", "must be ASSUME_GRANTED or REQUIRE_GRANTED; got \(number)")
    case .assumeGranted, .requireGranted: break
    }
    switch rules.oversize {
    case .unspecified: rules.oversize = .reject
    case .UNRECOGNIZED(let number):
      throw IngestErrors.invalid("oversize", "must be REJECT or REMOVE; got \(number)")
    case .reject, .remove: break
    }
    rules.deniedFields = try deniedFields(rules.deniedFields)
    rules.patterns = try patterns(rules.patterns)
    try check(rules.customPatterns)
    if rules.latenessMs == 0 { rules.latenessMs = EventClock.latenessMilliseconds }
    guard Limits.latenessMilliseconds.contains(rules.latenessMs) else {
      throw IngestErrors.invalid(
        "lateness_ms",
        """
        0, or from \(Limits.latenessMilliseconds.lowerBound) to \(Limits.latenessMilliseconds.upperBound); \
        got \(rules.latenessMs)
        """)
    }
    return rules
  }

  private static func deniedFields(_ names: [String]) throws(RPCError) -> [String] {
    guard names.count <= Limits.deniedFieldsMax else {
      throw IngestErrors.invalid(
        "denied_fields", "at most \(Limits.deniedFieldsMax); got \(names.count)")
    }
    var unique: [String] = []
    for (index, name) in names.enumerated() {
      try checkName("denied_fields[\(index)]", name)
      guard name != ContextField.openID.name else {
        throw IngestErrors.invalid(
          "denied_fields[\(index)]", "open_id cannot be removed: an event is of a user")
      }
      if !unique.contains(name) { unique.append(name) }
    }
    return unique
  }

  private static func patterns(
    _ patterns: [ProtoPrivacyPattern]
  ) throws(RPCError) -> [ProtoPrivacyPattern] {
    var unique: [ProtoPrivacyPattern] = []
    for (index, pattern) in patterns.enumerated() {
      guard pattern.rule != nil else {
        throw IngestErrors.invalid(
          "patterns[\(index)]",
          "must be PHONE, ID_CARD, EMAIL, BANK_CARD or IP_ADDRESS; got \(pattern.rawValue)")
      }
      if !unique.contains(pattern) { unique.append(pattern) }
    }
    return unique
  }

  private static func check(_ customs: [ProtoCustomPattern]) throws(RPCError) {
    guard customs.count <= Limits.customPatternsMax else {
      throw IngestErrors.invalid(
        "custom_patterns", "at most \(Limits.customPatternsMax); got \(customs.count)")
    }
    for (index, custom) in customs.enumerated() {
      try checkName("custom_patterns[\(index)].name", custom.name)
      guard !customs[..<index].contains(where: { $0.name == custom.name }) else {
        throw IngestErrors.invalid(
          "custom_patterns[\(index)].name", "a name occurs once; got \"\(custom.name)\" again")
      }
      guard Limits.customFormBytes.contains(custom.form.utf8.count) else {
        throw IngestErrors.invalid(
          "custom_patterns[\(index)].form",
          """
          from \(Limits.customFormBytes.lowerBound) to \(Limits.customFormBytes.upperBound) bytes; \
          got \(custom.form.utf8.count) bytes
          """)
      }
    }
  }

  /// The rule of names of fields and of purposes.
  static func checkName(_ field: String, _ name: String) throws(RPCError) {
    var copy = name
    guard copy.withUTF8({ EventName.isCustomName(UnsafeRawBufferPointer($0)) }) else {
      throw IngestErrors.invalid(
        field, "must match ^[a-z][a-z0-9_]{0,31}$; got \"\(name.prefix(64))\"")
    }
  }

  /// - Parameter rules: normalized.
  static func policy(_ rules: ProtoPrivacyRules) -> DoorPolicy {
    let scanner = PrivacyScanner(
      denied: rules.deniedFields, removesOversize: rules.oversize == .remove,
      matcher: PatternMatcher(
        Set(rules.patterns.compactMap(\.rule)),
        customs: rules.customPatterns.map { CustomForm(name: $0.name, form: $0.form) }))
    return DoorPolicy(
      takesUnknownUsers: rules.consentDefault != .requireGranted,
      latenessMilliseconds: rules.latenessMs, scanner: scanner.isEmpty ? nil : scanner)
  }
}

extension ProtoPrivacyPattern {
  /// nil: there is no such pattern.
  fileprivate var rule: PrivacyRule? {
    switch self {
    case .phone: .phone
    case .idCard: .idCard
    case .email: .email
    case .bankCard: .bankCard
    case .ipAddress: .ipAddress
    case .unspecified, .UNRECOGNIZED: nil
    }
  }
}
