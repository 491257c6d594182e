/// A run of bytes within a message: where it begins and how long it is. Length 0: absent or empty, which proto3 does not
/// tell apart.
@frozen
package struct ByteSlice: BitwiseCopyable, Sendable, Equatable {
  package let offset: UInt32
  package let length: UInt32

  @inlinable
  package init(offset: UInt32, length: UInt32) {
    self.offset = offset
    self.length = length
  }

  @inlinable
  package var isEmpty: Bool { length == 0 }

  package static let empty = ByteSlice(offset: 0, length: 0)

  /// Both numbers in one word; 0 only where the slice is empty.
  @inlinable
  init(word: UInt64) {
    self.init(
      offset: UInt32(truncatingIfNeeded: word &>> 32), length: UInt32(truncatingIfNeeded: word))
  }

  @inlinable
  var word: UInt64 { length == 0 ? 0 : UInt64(offset) &<< 32 | UInt64(length) }

  /// The bytes themselves.
  ///
  /// - Parameter message: the message that the slice was cut from.
  @inlinable
  package func bytes(in message: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    precondition(Int(offset) + Int(length) <= message.count, "a slice of another message")
    return UnsafeRawBufferPointer(rebasing: message[Int(offset)..<Int(offset) + Int(length)])
  }

  /// The bytes as text. Allocates where they are more than 15.
  @inlinable
  package func text(in message: UnsafeRawBufferPointer) -> String {
    String(decoding: bytes(in: message), as: UTF8.self)
  }
}
