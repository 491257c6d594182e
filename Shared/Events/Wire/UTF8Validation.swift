/// Whether bytes are UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates, nothing above U+10FFFF).
package enum UTF8Validation {
  /// Cost: 8 bytes a step while they are ASCII.
  @inline(__always)
  package static func isValid(_ start: UnsafeRawPointer, count: Int) -> Bool {
    isASCII(start, count: count) || isValidSlowly(start, count: count)
  }

  package static func isValid(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let start = bytes.baseAddress else { return true }
    return isValid(start, count: bytes.count)
  }

  @inline(__always)
  static func isASCII(_ start: UnsafeRawPointer, count: Int) -> Bool {
    var seen: UInt64 = 0
    if count >= 8 {
      var index = 0
      let last = count &- 8
      while index < last {
        seen |= start.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        index &+= 8
      }
      seen |= start.loadUnaligned(fromByteOffset: last, as: UInt64.self)
    } else if count >= 4 {
      seen = UInt64(start.loadUnaligned(as: UInt32.self))
      seen |= UInt64(start.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self))
    } else {
      var index = 0
      while index < count {
        seen |= UInt64(start.load(fromByteOffset: index, as: UInt8.self))
        index &+= 1
      }
    }
    return seen & 0x8080_8080_8080_8080 == 0
  }

  private static func isValidSlowly(_ start: UnsafeRawPointer, count: Int) -> Bool {
    var index = 0
    while index < count {
      let lead = start.load(fromByteOffset: index, as: UInt8.self)
      if lead < 0x80 {
        index += 1
        continue
      }
      guard let shape = Sequence(lead: lead), index + shape.length <= count else { return false }
      let second = start.load(fromByteOffset: index + 1, as: UInt8.self)
      guard shape.second.contains(second) else { return false }
      for further in 2..<max(2, shape.length) {
        guard start.load(fromByteOffset: index + further, as: UInt8.self) & 0xc0 == 0x80 else {
          return false
        }
      }
      index += shape.length
    }
    return true
  }

  /// What may follow a lead byte.
  private struct Sequence {
    let length: Int
    let second: ClosedRange<UInt8>

    init?(lead: UInt8) {
      switch lead {
      case 0xc2...0xdf: (length, second) = (2, 0x80...0xbf)
      case 0xe0: (length, second) = (3, 0xa0...0xbf)
      case 0xed: (length, second) = (3, 0x80...0x9f)
      case 0xe1...0xef: (length, second) = (3, 0x80...0xbf)
      case 0xf0: (length, second) = (4, 0x90...0xbf)
      case 0xf1...0xf3: (length, second) = (4, 0x80...0xbf)
      case 0xf4: (length, second) = (4, 0x80...0x8f)
      default: return nil
      }
    }
  }
}
