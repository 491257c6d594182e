/// Why a value is taken out of an event.
package enum PrivacyRule: Hashable, Sendable {
  /// Its name is on the app's list.
  case denied
  /// Longer than `EventLimits.fieldTextBytesMax`.
  case oversize
  case phone
  case idCard
  case email
  case bankCard
  case ipAddress
  /// A form of the app's own.
  case custom(String)

  /// The word of `RemovedField.rule`, and in the ledger.
  package var word: String {
    switch self {
    case .denied: "denied"
    case .oversize: "oversize"
    case .phone: "phone"
    case .idCard: "id_card"
    case .email: "email"
    case .bankCard: "bank_card"
    case .ipAddress: "ip_address"
    case .custom(let name): "custom.\(name)"
    }
  }
}
