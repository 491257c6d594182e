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
  /// One more than a context's number.
  private var slots = HashSlots()

  var count: Int { words.count / ContextColumns.count }

  /// Bytes of memory, about.
  var byteCount: Int { words.capacity * 4 + slots.byteCount }

  /// The number of a context, given anew where it has none.
  mutating func number(_ context: UnsafeBufferPointer<UInt32>) -> UInt32 {
    precondition(context.count == ContextColumns.count)
    let bytes = UnsafeRawBufferPointer(context)
    let hash = ByteHash.hash(bytes)
    let known = words.withUnsafeBytes { words in
      slots.first(hash) { ByteHash.areEqual(Self.bytes(Int($0) - 1, words), bytes) }
    }
    if let known { return known - 1 }
    words.append(contentsOf: context)
    if count > slots.capacity { makeSlots() } else { slots.insert(UInt32(count), hash) }
    return UInt32(count - 1)
  }

  private mutating func makeSlots() {
    slots.removeAll(roomFor: count)
    words.withUnsafeBytes { words in
      for number in 0..<count {
        slots.insert(UInt32(number + 1), ByteHash.hash(Self.bytes(number, words)))
      }
    }
  }

  private static func bytes(
    _ number: Int, _ words: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    let width = ContextColumns.count * MemoryLayout<UInt32>.size
    return UnsafeRawBufferPointer(rebasing: words[number * width..<(number + 1) * width])
  }
}
