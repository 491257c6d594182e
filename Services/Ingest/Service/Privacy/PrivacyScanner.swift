package import Events

/// A value that is taken out of a batch, and why.
package struct Removal: Sendable {
  package let removal: FieldRemoval
  package let rule: PrivacyRule
  /// As the sender knows it: `fields.mobile`, `page_path`, `context.city`.
  package let path: String
}

/// Finds what an app's rules take out of a batch. Allocates nothing unless there is something.
///
/// Cost: a few ns per field where only names are denied, 1 ns per byte of text where patterns are looked for.
package struct PrivacyScanner: Sendable {
  private let names: Set<FieldName>
  /// A bit for each length, first and last byte of a denied name: most names are told apart without hashing them.
  private let nameSigns: UInt64
  /// Bit `rawValue` of the denied fields of the context.
  private let contextNames: UInt64
  private let deniesPage: Bool
  private let removesOversize: Bool
  private let matcher: PatternMatcher

  /// - Parameter denied: names of custom fields and of `ContextField`; each obeys the rule of names.
  package init(denied: [String], removesOversize: Bool, matcher: PatternMatcher) {
    var names: Set<FieldName> = []
    var signs: UInt64 = 0
    for name in denied {
      var copy = name
      copy.withUTF8 { bytes in
        names.insert(FieldName(UnsafeRawBufferPointer(bytes)))
        signs |= Self.sign(UnsafeRawBufferPointer(bytes))
      }
    }
    self.names = names
    nameSigns = signs
    let context = denied.compactMap(ContextField.init(name:)).filter { $0.rawValue < 31 }
    contextNames = context.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    deniesPage = denied.contains(ContextField.pagePath.name)
    self.removesOversize = removesOversize
    self.matcher = matcher
  }

  var isEmpty: Bool { names.isEmpty && !removesOversize && matcher.isEmpty }

  /// A bit for a name that is not empty.
  @inline(__always)
  private static func sign(_ name: UnsafeRawBufferPointer) -> UInt64 {
    let mixed = Int(name[0]) &* 7 &+ Int(name[name.count - 1]) &* 13 &+ name.count
    return 1 << UInt64(mixed & 63)
  }

  /// What is to be taken out: of the batch's context first, then of the events in their order.
  package func removals(_ reader: BatchReader, _ message: UnsafeRawBufferPointer) -> [Removal] {
    var found: [Removal] = []
    scan(reader.context, nil, message, &found)
    for (index, event) in reader.events.enumerated() {
      // It has fields that the reader did not keep, and is rejected for that: what was not seen must not be stored.
      if event.fieldCount > EventLimits.fieldsPerEventMax { continue }
      scan(event, index, reader, message, &found)
    }
    return found
  }

  private func scan(
    _ event: BatchEvent, _ index: Int, _ reader: BatchReader, _ message: UnsafeRawBufferPointer,
    _ found: inout [Removal]
  ) {
    if !event.pagePath.isEmpty {
      let rule = deniesPage ? .denied : matcher.match(event.pagePath.bytes(in: message))
      if let rule {
        let removal = FieldRemoval(event: index, place: .page)
        found.append(Removal(removal: removal, rule: rule, path: "page_path"))
      }
    }
    for (place, field) in reader.fields(of: event).enumerated() {
      guard let rule = rule(of: field, message) else { continue }
      found.append(
        Removal(
          removal: FieldRemoval(event: index, place: .field(place)), rule: rule,
          path: "fields.\(field.name.text(in: message))"))
    }
    if let own = reader.context(of: event).own { scan(own, index, message, &found) }
  }

  @inline(__always)
  private func rule(of field: BatchField, _ message: UnsafeRawBufferPointer) -> PrivacyRule? {
    if nameSigns != 0, isDenied(field.name.bytes(in: message)) { return .denied }
    switch field.value {
    case .text(let text):
      if text.length > EventLimits.fieldTextBytesMax { return removesOversize ? .oversize : nil }
      return matcher.isEmpty ? nil : matcher.match(text.bytes(in: message))
    case .integer(let number): return matcher.isEmpty ? nil : matcher.match(number)
    case .double, .boolean, .missing: return nil
    }
  }

  @inline(__always)
  private func isDenied(_ name: UnsafeRawBufferPointer) -> Bool {
    guard name.count > 0, name.count <= EventLimits.nameBytesMax,
      nameSigns & Self.sign(name) != 0
    else { return false }
    return names.contains(FieldName(name))
  }

  /// - Parameter event: nil: the batch's context.
  private func scan(
    _ context: BatchContext, _ event: Int?, _ message: UnsafeRawBufferPointer,
    _ found: inout [Removal]
  ) {
    func remove(_ field: ContextField, _ rule: PrivacyRule) {
      found.append(
        Removal(
          removal: FieldRemoval(event: event, place: .context(field)), rule: rule,
          path: "context.\(field.name)"))
    }
    if contextNames != 0 {
      for field in ContextField.inContext
      where contextNames >> UInt64(field.rawValue) & 1 == 1 && context.isSet(field) {
        remove(field, .denied)
      }
    }
    guard !matcher.isEmpty else { return }
    for field in Self.freeTexts where contextNames >> UInt64(field.rawValue) & 1 == 0 {
      let text = context.text(field)
      guard !text.isEmpty, let rule = matcher.match(text.bytes(in: message)) else { continue }
      remove(field, rule)
    }
  }

  /// Texts of the context that people write. The others are codes and versions, some of which look like an address.
  private static let freeTexts: [ContextField] = [
    .campaignSource, .campaignMedium, .campaignName, .campaignContent, .campaignTerm,
  ]
}

extension BatchContext {
  /// Whether the message has the field, other than as 0 or empty.
  fileprivate func isSet(_ field: ContextField) -> Bool {
    field.kind == .text ? !text(field).isEmpty : integer(field) != 0
  }
}
