/// The message `Context` in place: one word per field, at the field's number. Text is a slice's word, an integer itself;
/// 0 means that the field is not set. Valid until the reader's next message.
@frozen
package struct BatchContext {
  static let wordCount = 32
  /// Word 0: the number of the first field that is not UTF-8, else 0. Word 31: where the experiments lie.
  static let badTextWord = 0
  static let experimentsWord = 31

  @usableFromInline
  let words: UnsafePointer<UInt64>

  @inlinable
  init(words: UnsafePointer<UInt64>) { self.words = words }

  /// Empty where the field is not set, is an integer, or belongs to the event.
  @inlinable
  package func text(_ field: ContextField) -> ByteSlice {
    guard field.rawValue < 31, field.kind == .text else { return .empty }
    return ByteSlice(word: words[Int(field.rawValue)])
  }

  /// 0 where the field is not set or is text.
  @inlinable
  package func integer(_ field: ContextField) -> Int64 {
    guard field.rawValue < 31, field.kind == .integer else { return 0 }
    return Int64(bitPattern: words[Int(field.rawValue)])
  }

  /// The word of a field as it is, for comparing and copying whole contexts.
  @inlinable
  func word(_ number: Int) -> UInt64 { words[number] }
}

/// What is true of one event: its own context where that sets a field, else its batch's.
@frozen
package struct EventContext {
  package let batch: BatchContext
  /// nil: the event has none of its own.
  package let own: BatchContext?

  @inlinable
  init(batch: BatchContext, own: BatchContext?) {
    self.batch = batch
    self.own = own
  }

  @inlinable
  package func text(_ field: ContextField) -> ByteSlice {
    if let own, case let slice = own.text(field), !slice.isEmpty { return slice }
    return batch.text(field)
  }

  @inlinable
  package func integer(_ field: ContextField) -> Int64 {
    if let own, case let value = own.integer(field), value != 0 { return value }
    return batch.integer(field)
  }

  /// nil only for a number that no rule lets through.
  @inlinable
  package var releaseChannel: ReleaseChannel? { ReleaseChannel(wire: integer(.releaseChannel)) }
}

/// One entry of `Context.experiments`.
@frozen
package struct BatchExperiment: BitwiseCopyable, Sendable {
  package let name: ByteSlice
  package let variant: ByteSlice
}
