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
/// Cost: a few ns per field where only names are denied, and a few more per short text where patterns are looked for.
package struct PrivacyScanner: Sendable {
  private let names: Set<FieldName>
  /// A bit for the beginning and the length of each denied name: nearly all others are told apart without hashing them.
  private let nameSigns: [UInt64]
  private static let signBits = 1_024
  /// Bit `rawValue` of the denied fields of the context.
  private let contextNames: UInt64
  private let deniesPage: Bool
  private let removesOversize: Bool
  private let matcher: PatternMatcher
  private let looksForPatterns: Bool

  /// - Parameter denied: names of custom fields and of `ContextField`; each obeys the rule of names.
  package init(denied: [String], removesOversize: Bool, matcher: PatternMatcher) {
    var names: Set<FieldName> = []
    var signs = [UInt64](repeating: 0, count: Self.signBits / 64)
    for name in denied {
      var copy = name
      copy.withUTF8 { bytes in
        let name = UnsafeRawBufferPointer(bytes)
        names.insert(FieldName(name))
        let sign = Self.sign(Self.beginning(name), name.count)
        signs[sign / 64] |= 1 << UInt64(sign % 64)
      }
    }
    self.names = names
    nameSigns = signs
    let context = denied.compactMap(ContextField.init(name:)).filter { $0.rawValue < 31 }
    contextNames = context.reduce(0) { $0 | 1 << UInt64($1.rawValue) }
    deniesPage = denied.contains(ContextField.pagePath.name)
    self.removesOversize = removesOversize
    self.matcher = matcher
    looksForPatterns = !matcher.isEmpty
  }

  var isEmpty: Bool { names.isEmpty && !removesOversize && matcher.isEmpty }

  @inline(__always)
  private static func sign(_ beginning: UInt64, _ length: Int) -> Int {
    Int(((beginning ^ UInt64(length)) &* 0x9e37_79b9_7f4a_7c15) >> 54)
  }

  /// The first eight bytes of a name, zeros behind it.
  private static func beginning(_ name: UnsafeRawBufferPointer) -> UInt64 {
    name.prefix(8).reversed().reduce(0) { $0 << 8 | UInt64($1) }
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
      var rule = deniesPage ? PrivacyRule.denied : nil
      if rule == nil, looksForPatterns { rule = matcher.match(event.pagePath.bytes(in: message)) }
      if let rule {
        let removal = FieldRemoval(event: index, place: .page)
        found.append(Removal(removal: removal, rule: rule, path: "page_path"))
      }
    }
    let fields = reader.fields(of: event)
    for place in fields.indices {
      guard let rule = rule(of: fields[place], message) else { continue }
      found.append(
        Removal(
          removal: FieldRemoval(event: index, place: .field(place)), rule: rule,
          path: "fields.\(fields[place].name.text(in: message))"))
    }
    if event.hasOwnContext, let own = reader.context(of: event).own { scan(own, index, message, &found) }
  }

  @inline(__always)
  private func rule(of field: BatchField, _ message: UnsafeRawBufferPointer) -> PrivacyRule? {
    if !names.isEmpty, isDenied(field.name, message) { return .denied }
    switch field.kind {
    case .text:
      let text = field.text
      if text.length > EventLimits.fieldTextBytesMax { return removesOversize ? .oversize : nil }
      return looksForPatterns ? matcher.match(text.bytes(in: message)) : nil
    case .integer:
      guard looksForPatterns, case .integer(let number) = field.value else { return nil }
      return matcher.match(number)
    case .double, .boolean, .missing: return nil
    }
  }

  @inline(__always)
  private func isDenied(_ slice: ByteSlice, _ message: UnsafeRawBufferPointer) -> Bool {
    let length = Int(slice.length)
    guard length > 0, length <= EventLimits.nameBytesMax else { return false }
    let beginning: UInt64
    if Int(slice.offset) + 8 <= message.count {
      let word = UInt64(
        littleEndian: message.loadUnaligned(fromByteOffset: Int(slice.offset), as: UInt64.self))
      beginning = length >= 8 ? word : word & (1 &<< UInt64(8 &* length) &- 1)
    } else {
      beginning = Self.beginning(slice.bytes(in: message))
    }
    let sign = Self.sign(beginning, length)
    guard nameSigns[sign / 64] >> UInt64(sign % 64) & 1 == 1 else { return false }
    return names.contains(FieldName(slice.bytes(in: message)))
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
    guard looksForPatterns else { return }
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
