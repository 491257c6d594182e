import Events

/// Why an event did not go into the log as it came. One list for answers, quarantine, metrics and the ledger. The numbers are
/// stored: never change one. At most 63.
enum EventReason: UInt8, CaseIterable, Sendable {
  case required = 1
  case tooLong = 2
  case badName = 3
  case badUTF8 = 4
  case outOfRange = 5
  case wrongType = 6
  case tooMany = 7
  case notFinite = 8
  /// The app has as many names of fields as it may have.
  case tooManyFieldNames = 9
  case late = 10
  case conflict = 11
  case belowWindow = 12
  /// No published definition has the name, and the app's plan is strict.
  case unregistered = 13
  /// The user has not agreed to `analytics`, or not any more.
  case noConsent = 20

  init(_ reason: RuleViolation.Reason) {
    self =
      switch reason {
      case .required: .required
      case .tooLong: .tooLong
      case .badName: .badName
      case .badUTF8: .badUTF8
      case .outOfRange: .outOfRange
      case .wrongType: .wrongType
      case .tooMany: .tooMany
      case .notFinite: .notFinite
      }
  }

  /// The word of `RejectedEvent.reason`.
  var word: String {
    switch self {
    case .required: "required"
    case .tooLong: "too_long"
    case .badName: "bad_name"
    case .badUTF8: "bad_utf8"
    case .outOfRange: "out_of_range"
    case .wrongType: "wrong_type"
    case .tooMany: "too_many"
    case .notFinite: "not_finite"
    case .tooManyFieldNames: "too_many"
    case .late: "late"
    case .conflict: "conflict"
    case .belowWindow: "below_window"
    case .unregistered: "unregistered"
    case .noConsent: "no_consent"
    }
  }
}

/// What becomes of one event, in one byte: two bits of outcome, six of reason.
struct Fate: Hashable, BitwiseCopyable, Sendable {
  enum Outcome: String, Sendable {
    case accepted
    /// An earlier delivery is in the log.
    case duplicate
    /// Not stored.
    case rejected
    /// Stored aside.
    case quarantined
    /// Stored aside: its number or id belongs to an event of other content.
    case conflict
  }

  let code: UInt8

  /// In the log; on the way there: refused by no step so far.
  static let accepted = Fate(code: 0 << 6)
  static let duplicate = Fate(code: 1 << 6)
  static let conflict = quarantined(.conflict)

  static func rejected(_ reason: EventReason) -> Fate { Fate(code: 2 << 6 | reason.rawValue) }
  static func quarantined(_ reason: EventReason) -> Fate { Fate(code: 3 << 6 | reason.rawValue) }

  var isRejected: Bool { code >> 6 == 2 }
  /// Whether deduplication looks at the event: the retry of one that is in the log answers as the first, also where the
  /// event would not be taken any more.
  var isDeduplicated: Bool { !isRejected || reason == .noConsent }
  /// Kept aside, a conflict included.
  var isQuarantined: Bool { code >> 6 == 3 }

  /// nil: there is none.
  var reason: EventReason? { EventReason(rawValue: code & 63) }

  var outcome: Outcome {
    switch code >> 6 {
    case 0: .accepted
    case 1: .duplicate
    case 2: .rejected
    default: self == .conflict ? .conflict : .quarantined
    }
  }

  /// The step that decided.
  var step: Step {
    guard let reason else { return self == .accepted ? .append : .deduplicate }
    return switch reason {
    case .noConsent: .consent
    case .late: .lateness
    case .conflict, .belowWindow: .deduplicate
    case .tooManyFieldNames: .types
    case .unregistered: .plan
    case .wrongType: isRejected ? .names : .types
    case .required, .tooLong, .badName, .badUTF8, .outOfRange, .tooMany, .notFinite: .names
    }
  }
}

/// How many events had which fate. Made once and emptied between uses: counting allocates nothing.
struct FateTally: Sendable {
  private var counts = [Int](repeating: 0, count: 256)
  private var codes: [UInt8] = []

  mutating func count(_ fate: Fate, _ events: Int = 1) {
    let index = Int(fate.code)
    if counts[index] == 0 { codes.append(fate.code) }
    counts[index] &+= events
  }

  /// Most batches are all of one fate.
  mutating func count(_ fates: [Fate]) {
    var start = 0
    while start < fates.count {
      var end = start + 1
      while end < fates.count, fates[end] == fates[start] { end += 1 }
      count(fates[start], end - start)
      start = end
    }
  }

  mutating func add(_ other: FateTally) {
    for (fate, events) in other.fates { count(fate, events) }
  }

  subscript(fate: Fate) -> Int { counts[Int(fate.code)] }

  /// Each fate that was counted, and how often.
  var fates: some Sequence<(fate: Fate, events: Int)> {
    codes.lazy.map { (fate: Fate(code: $0), events: counts[Int($0)]) }
  }

  mutating func removeAll() {
    for code in codes { counts[Int(code)] = 0 }
    codes.removeAll(keepingCapacity: true)
  }
}
