import Events

/// The name of a field, at most 32 bytes, as a value: no allocation to look it up.
struct FieldName: Hashable, BitwiseCopyable, Sendable {
  private let words: (UInt64, UInt64, UInt64, UInt64)

  /// - Parameter bytes: obey the rule of names, so they hold no zero byte, and padding with zeros is unambiguous.
  init(_ bytes: UnsafeRawBufferPointer) {
    precondition(bytes.count <= EventLimits.nameBytesMax, "the rules let no longer name through")
    var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
    withUnsafeMutableBytes(of: &words) { $0.copyMemory(from: bytes) }
    self.words = words
  }

  var text: String {
    withUnsafeBytes(of: words) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  static func == (a: FieldName, b: FieldName) -> Bool {
    a.words.0 == b.words.0 && a.words.1 == b.words.1 && a.words.2 == b.words.2
      && a.words.3 == b.words.3
  }

  func hash(into hasher: inout Hasher) {
    hasher.combine(words.0 ^ words.2 &* 31)
    hasher.combine(words.1 ^ words.3 &* 31)
  }

  /// Every field of every event is looked up: two multiplications under a secret of this process instead of SipHash.
  func _rawHashValue(seed: Int) -> Int {
    let secret = Self.secret
    let a = (words.0 ^ secret.0).multipliedFullWidth(by: words.1 ^ secret.1)
    let b = (words.2 ^ secret.1).multipliedFullWidth(by: words.3 ^ secret.0 ^ a.low)
    return Int(truncatingIfNeeded: a.high ^ b.low ^ b.high) ^ seed
  }

  private static let secret = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
}

/// What type each field of an app has, for ever (SEMANTICS 1). The first event decides that no step before the writer's
/// refuses or keeps aside.
struct FieldTypes: Sendable {
  private var kinds: [FieldName: BatchField.Kind] = [:]
  /// Decided since they were last written down.
  private var unsaved: [(FieldName, BatchField.Kind)] = []

  init() {}

  /// The type that a stored number means, nil where there is none.
  static func kind(stored: Int64) -> BatchField.Kind? {
    guard let number = UInt8(exactly: stored), number > 0 else { return nil }
    return BatchField.Kind(rawValue: number)
  }

  /// From the store.
  mutating func restore(_ name: FieldName, _ kind: BatchField.Kind) { kinds[name] = kind }

  var count: Int { kinds.count }

  /// nil: not decided.
  func kind(of name: FieldName) -> BatchField.Kind? { kinds[name] }

  /// How the fields of an event stand to those of the app.
  enum Standing {
    case known
    /// Fields of this number are not known yet; the others are right.
    case new(Int)
    case wrong(FieldProblem)
  }

  /// Compares every field of an event with what is known, and takes nothing in.
  @inline(__always)
  func check(
    _ fields: UnsafeBufferPointer<BatchField>, in message: UnsafeRawBufferPointer
  ) -> Standing {
    var unknown = 0
    for field in fields {
      guard let kind = kinds[FieldName(field.name.bytes(in: message))] else {
        unknown += 1
        continue
      }
      if kind != field.kind {
        return .wrong(.wrongType(field.name.text(in: message), kind, field.kind))
      }
    }
    return unknown == 0 ? .known : .new(unknown)
  }

  /// Checks every field of an event, then takes in those that are new. Nothing is taken in where one is wrong.
  ///
  /// - Returns: why the event is not kept.
  mutating func admit(
    _ fields: UnsafeBufferPointer<BatchField>, in message: UnsafeRawBufferPointer
  ) -> FieldProblem? {
    switch check(fields, in: message) {
    case .known: return nil
    case .wrong(let problem): return problem
    case .new(let unknown):
      guard kinds.count + unknown <= Limits.fieldNamesMax else {
        return .tooMany(firstUnknown(fields, in: message))
      }
    }
    for field in fields { decide(FieldName(field.name.bytes(in: message)), field.kind) }
    return nil
  }

  /// Nothing where the type is decided already.
  mutating func decide(_ name: FieldName, _ kind: BatchField.Kind) {
    guard kinds[name] == nil else { return }
    kinds[name] = kind
    unsaved.append((name, kind))
  }

  private func firstUnknown(
    _ fields: UnsafeBufferPointer<BatchField>, in message: UnsafeRawBufferPointer
  ) -> String {
    let field = fields.first { kinds[FieldName($0.name.bytes(in: message))] == nil }
    return field?.name.text(in: message) ?? ""
  }

  var hasUnsaved: Bool { !unsaved.isEmpty }

  /// The transaction that was to write them down was rolled back.
  mutating func putBack(_ types: [(FieldName, BatchField.Kind)]) { unsaved = types + unsaved }

  mutating func takeUnsaved() -> [(FieldName, BatchField.Kind)] {
    defer { unsaved = [] }
    return unsaved
  }
}

/// A field that breaks a rule of its app.
enum FieldProblem {
  case wrongType(String, BatchField.Kind, BatchField.Kind)
  case tooMany(String)

  var field: String {
    switch self {
    case .wrongType(let name, _, _), .tooMany(let name): "fields.\(name)"
    }
  }

  var message: String {
    switch self {
    case .wrongType(_, let known, let sent):
      "\(field): is \(Self.word(known)) in this app; got \(Self.word(sent)); kept aside"
    case .tooMany:
      "\(field): the app has \(Limits.fieldNamesMax) field names already, the most it may have"
    }
  }

  private static func word(_ kind: BatchField.Kind) -> String {
    switch kind {
    case .missing: "nothing"
    case .text: "a string"
    case .integer: "an integer"
    case .double: "a double"
    case .boolean: "a boolean"
    }
  }
}
