/// One event in place: slices and numbers. Valid with the message and the reader that gave it.
@frozen
package struct BatchEvent: BitwiseCopyable, Sendable {
  package internal(set) var name = ByteSlice.empty
  package internal(set) var pagePath = ByteSlice.empty
  package internal(set) var eventID = ByteSlice.empty
  /// As the device's clock said, not corrected. ms since 1970.
  package internal(set) var timeMilliseconds: Int64 = 0
  /// 0: none.
  package internal(set) var sequence: UInt64 = 0
  /// The encoded event with its tag and length: copied behind one another, these are a request's `events`.
  package internal(set) var encoded = ByteSlice.empty
  /// Fields that the message has; at most `EventLimits.fieldsPerEventMax` of them are kept.
  package internal(set) var fieldCount: UInt32 = 0
  var firstField: UInt32 = 0
  /// Number of the event's own context in the arena; 0: none, for 0 is the batch's.
  var ownContext: UInt32 = 0
  var badText = BadText.none
  /// Which field `badText` means.
  var badTextField: UInt8 = 0
  /// Sent by a server on the user's behalf.
  package internal(set) var isPassive = false

  /// Whether `EventContext.own` exists.
  package var hasOwnContext: Bool { ownContext != 0 }

  /// Where the first bytes stand that are not UTF-8.
  enum BadText: UInt8, BitwiseCopyable {
    case none, name, pagePath, eventID, fieldName, fieldValue
  }
}

/// One field of an event, typed.
@frozen
package struct BatchField: BitwiseCopyable, Sendable {
  /// The type of a field's value. The raw values are stored by others: never change one.
  package enum Kind: UInt8, BitwiseCopyable, Sendable {
    /// The value is absent: a rule rejects it.
    case missing = 0
    case text = 1
    case integer = 2
    case double = 3
    case boolean = 4
  }

  package internal(set) var name = ByteSlice.empty
  package internal(set) var kind = Kind.missing
  /// The value as `kind` says: a slice's word, the integer's or the double's bits, 0 or 1.
  @usableFromInline var bits: UInt64 = 0

  package enum Value: Equatable, Sendable {
    case missing
    case text(ByteSlice)
    case integer(Int64)
    case double(Double)
    case boolean(Bool)
  }

  @inlinable
  package var value: Value {
    switch kind {
    case .missing: .missing
    case .text: .text(ByteSlice(word: bits))
    case .integer: .integer(Int64(bitPattern: bits))
    case .double: .double(Double(bitPattern: bits))
    case .boolean: .boolean(bits != 0)
    }
  }

  /// Empty unless `kind` is text.
  @inlinable
  package var text: ByteSlice { kind == .text ? ByteSlice(word: bits) : .empty }
}
