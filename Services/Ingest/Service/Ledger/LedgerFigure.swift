/// One figure of the ledger, as the table `ledger` calls it. The words are stored: never change one.
struct LedgerFigure: Hashable, Sendable {
  let word: String

  static let received = LedgerFigure(word: "received")
  static let accepted = LedgerFigure(word: "accepted")
  static let duplicate = LedgerFigure(word: "duplicate")
  static let missing = LedgerFigure(word: "missing")
  static let recovered = LedgerFigure(word: "recovered")
  static let lost = LedgerFigure(word: "lost")
  static let beforeFirst = LedgerFigure(word: "before_first")
  static let beforeFirstReceived = LedgerFigure(word: "before_first_received")

  static func removed(_ rule: PrivacyRule) -> LedgerFigure {
    LedgerFigure(word: Prefix.removed.rawValue + rule.word)
  }

  init(word: String) { self.word = word }

  init(_ fate: Fate) {
    guard let reason = fate.reason else {
      self = fate == .accepted ? .accepted : .duplicate
      return
    }
    let prefix = fate.isRejected ? Prefix.rejected : Prefix.quarantined
    word = prefix.rawValue + reason.word
  }

  /// What stands before a reason or a rule.
  enum Prefix: String, CaseIterable {
    case rejected = "rejected."
    case quarantined = "quarantined."
    case removed = "removed."
  }

  /// The figure with its reason taken apart; nil where it has none.
  var byReason: (Prefix, Substring)? {
    for prefix in Prefix.allCases where word.hasPrefix(prefix.rawValue) {
      return (prefix, word.dropFirst(prefix.rawValue.count))
    }
    return nil
  }
}
