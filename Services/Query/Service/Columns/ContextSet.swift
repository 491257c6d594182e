import Events

/// The columns of a context: every field of the message `Context` but the user, in this order. The order is part of the
/// format on disk: new fields are added at the end.
enum ContextColumns {
  static let fields: [ContextField] = ContextField.inContext.filter { $0 != .openID }
  static let count = fields.count
  private static let positions = Dictionary(
    uniqueKeysWithValues: fields.enumerated().map { ($1, $0) })

  static func position(_ field: ContextField) -> Int? { positions[field] }
}

/// Distinct contexts in first-seen order. An event holds the number of its context, so that what stays the same during
/// an open is stored and compared once, not once per event.
struct ContextSet: Sendable {
  /// `ContextColumns.count` words per context: a dictionary code of text, or a number.
  private(set) var words: [UInt32] = []
  private var numbers = ByteDictionary()

  var count: Int { words.count / ContextColumns.count }

  /// The number of a context, given anew where it has none.
  mutating func number(_ context: UnsafeBufferPointer<UInt32>) -> UInt32 {
    precondition(context.count == ContextColumns.count)
    let code = numbers.code(UnsafeRawBufferPointer(context))
    if Int(code) > count { words.append(contentsOf: context) }
    return code - 1
  }
}
