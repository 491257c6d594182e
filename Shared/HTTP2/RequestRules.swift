#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// What RFC 9113, 8.1-8.3, asks of a request's fields and of the length of its body. A server judges them here: nghttp2's own checks, which
/// give the same verdicts, look at each byte by itself and were a quarter of what it did for a call.
struct RequestRules {
  private struct Seen: OptionSet {
    let rawValue: UInt16
    static let method = Seen(rawValue: 1)
    static let scheme = Seen(rawValue: 2)
    static let path = Seen(rawValue: 4)
    static let authority = Seen(rawValue: 8)
    static let host = Seen(rawValue: 16)
    /// A field that is no pseudo field: none of those may follow.
    static let regular = Seen(rawValue: 32)
    static let connect = Seen(rawValue: 64)
    static let options = Seen(rawValue: 128)
    /// The scheme is one whose paths begin with a slash.
    static let http = Seen(rawValue: 256)
    static let absolutePath = Seen(rawValue: 512)
    static let asterisk = Seen(rawValue: 1024)

    /// In place of the generic ones of `OptionSet`.
    @inline(__always) func has(_ all: Seen) -> Bool { rawValue & all.rawValue == all.rawValue }
    @inline(__always) func hasAny(_ any: Seen) -> Bool { rawValue & any.rawValue != 0 }
    @inline(__always) func adding(_ more: Seen) -> Seen { Seen(rawValue: rawValue | more.rawValue) }
  }

  private var seen = Seen(rawValue: 0)
  /// What `content-length` says; -1: nothing.
  private var contentLength: Int64 = -1
  private var received: Int64 = 0

  // MARK: Fields

  /// Whether a field may stand in the block that opens the stream, or in the one that ends it.
  @inline(__always)
  mutating func takes(
    _ known: HeaderName, _ name: UnsafePointer<UInt8>, _ nameLength: Int,
    _ value: UnsafePointer<UInt8>, _ valueLength: Int, isTrailer: Bool
  ) -> Bool {
    let bytes = UnsafeRawBufferPointer(start: value, count: valueLength)
    switch known {
    case .path, .method, .scheme, .authority, .status:
      return !isTrailer && !seen.has(.regular) && takesPseudo(known, bytes)
    case .custom:
      guard takesName(UnsafeRawBufferPointer(start: name, count: nameLength), bytes) else { return false }
    default: break
    }
    seen = seen.adding(.regular)
    guard Self.isValue(bytes) else { return false }
    switch known {
    case .te: return Self.isTrailers(bytes)
    case .contentLength: return takesLength(bytes)
    default: return true
    }
  }

  @inline(__always)
  private mutating func takesPseudo(_ known: HeaderName, _ value: UnsafeRawBufferPointer) -> Bool {
    switch known {
    case .path: takesPath(value)
    case .method: takesMethod(value)
    case .scheme: takesScheme(value)
    case .authority: take(.authority, value) && Self.isAuthority(value)
    // Of an answer.
    default: false
    }
  }

  /// Once only, and not empty.
  @inline(__always)
  private mutating func take(_ field: Seen, _ value: UnsafeRawBufferPointer) -> Bool {
    if seen.has(field) || value.isEmpty { return false }
    seen = seen.adding(field)
    return true
  }

  @inline(__always)
  private mutating func takesPath(_ value: UnsafeRawBufferPointer) -> Bool {
    guard take(.path, value), Self.isPath(value) else { return false }
    if value[0] == UInt8(ascii: "/") {
      seen = seen.adding(.absolutePath)
    } else if value.count == 1, value[0] == UInt8(ascii: "*") {
      seen = seen.adding(.asterisk)
    }
    return true
  }

  @inline(__always)
  private mutating func takesMethod(_ value: UnsafeRawBufferPointer) -> Bool {
    guard take(.method, value) else { return false }
    if value.count == 4, value.loadUnaligned(as: UInt32.self) == Self.post { return true }
    if Self.equals(value, "CONNECT") { seen = seen.adding(.connect) }
    if Self.equals(value, "OPTIONS") { seen = seen.adding(.options) }
    return value.allSatisfy { Self.isTokenByte($0) || (65...90).contains($0) }
  }

  @inline(__always)
  private mutating func takesScheme(_ value: UnsafeRawBufferPointer) -> Bool {
    guard take(.scheme, value) else { return false }
    // In any case: only letters become letters by the bit that makes them small.
    let isHTTP = value.count >= 4 && value.loadUnaligned(as: UInt32.self) | 0x2020_2020 == Self.http
    if isHTTP, value.count == 4 || value.count == 5 && value[4] | 0x20 == UInt8(ascii: "s") {
      seen = seen.adding(.http)
      return true
    }
    return Self.isScheme(value)
  }

  /// A name that is none of ours: RFC 9113, 8.2.1, and 8.2.2 of fields that belong to one connection.
  @inline(never)
  private mutating func takesName(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
    guard !name.isEmpty, name.allSatisfy(Self.isTokenByte) else { return false }
    switch name.count {
    case 4: return !Self.equals(name, "host") || take(.host, value) && Self.isAuthority(value)
    case 7: return !Self.equals(name, "upgrade")
    case 10: return !Self.equals(name, "connection") && !Self.equals(name, "keep-alive")
    case 16: return !Self.equals(name, "proxy-connection")
    case 17: return !Self.equals(name, "transfer-encoding")
    default: return true
    }
  }

  private mutating func takesLength(_ value: UnsafeRawBufferPointer) -> Bool {
    guard contentLength == -1, !value.isEmpty else { return false }
    var length: Int64 = 0
    for byte in value {
      guard (48...57).contains(byte) else { return false }
      let (product, isLarge) = length.multipliedReportingOverflow(by: 10)
      let (sum, isLarger) = product.addingReportingOverflow(Int64(byte - 48))
      if isLarge || isLarger { return false }
      length = sum
    }
    contentLength = length
    return true
  }

  // MARK: Blocks and body

  /// Whether the fields that open a stream are a request.
  @inline(__always)
  var isComplete: Bool {
    if seen.has(.connect) { return seen.has(.authority) && !seen.hasAny(Seen.scheme.adding(.path)) }
    guard seen.has(Seen.method.adding(.scheme).adding(.path)), seen.hasAny(Seen.authority.adding(.host))
    else { return false }
    return seen.hasAny(.absolutePath) || !seen.has(.http) || seen.has(Seen.options.adding(.asterisk))
  }

  /// Counts bytes of the body. False: there are more than `content-length` says.
  @inline(__always)
  mutating func took(_ count: Int) -> Bool {
    received &+= Int64(count)
    return contentLength == -1 || seen.has(.connect) || received <= contentLength
  }

  /// Whether the body has the length that it was to have.
  @inline(__always)
  var isWhole: Bool { contentLength == -1 || seen.has(.connect) || received == contentLength }

  // MARK: Bytes

  private static let ones: UInt64 = 0x0101_0101_0101_0101
  private static let highBits: UInt64 = 0x8080_8080_8080_8080

  /// Any byte but control characters; a tab is none.
  @inline(__always)
  private static func isValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
    !mayHold(bytes, below: 32) || isValueWithTab(bytes)
  }

  @inline(never)
  private static func isValueWithTab(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.allSatisfy { $0 >= 32 && $0 != 127 || $0 == 9 }
  }

  /// Any byte but control characters and blanks.
  @inline(__always)
  private static func isPath(_ bytes: UnsafeRawBufferPointer) -> Bool { !mayHold(bytes, below: 33) }

  /// Whether there is a byte below one of at most 128, or 127. Eight at a time; the last ones with those before them.
  @inline(__always)
  private static func mayHold(_ bytes: UnsafeRawBufferPointer, below least: UInt64) -> Bool {
    let count = bytes.count
    guard count >= 8 else {
      for byte in bytes where byte < UInt8(truncatingIfNeeded: least) || byte == 127 { return true }
      return false
    }
    var marks = marks(bytes.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self), below: least)
    var offset = 0
    while offset &+ 8 < count {
      marks |= Self.marks(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self), below: least)
      offset &+= 8
    }
    return marks & highBits != 0
  }

  /// A high bit where there is such a byte among the eight, and only then: a borrow can only mark a byte above one that is marked.
  @inline(__always)
  private static func marks(_ word: UInt64, below least: UInt64) -> UInt64 {
    let deletes = word ^ (ones &* 127)
    return (word &- ones &* least) & ~word | (deletes &- ones) & ~deletes
  }

  /// Of `tchar` in RFC 9110, 5.6.2, those that a field's name has: no upper-case letter.
  @inline(__always)
  private static func isTokenByte(_ byte: UInt8) -> Bool {
    isIn(byte, 0x03FF_6CFA_0000_0000, 0x57FF_FFFF_C000_0000)
  }

  /// RFC 3986, 3.2: letters, digits and `-._~!$&'()*+,;=:@[]%`.
  @inline(__always)
  private static func isAuthority(_ value: UnsafeRawBufferPointer) -> Bool {
    for byte in value where !isIn(byte, 0x2FFF_7FF2_0000_0000, 0x47FF_FFFE_AFFF_FFFF) { return false }
    return true
  }

  /// Whether a byte is one of those whose bits are set, of the first 64 and the second 64.
  @inline(__always)
  private static func isIn(_ byte: UInt8, _ low: UInt64, _ high: UInt64) -> Bool {
    byte < 128 && (byte < 64 ? low : high) &>> UInt64(byte) & 1 != 0
  }

  /// RFC 3986, 3.1.
  private static func isScheme(_ value: UnsafeRawBufferPointer) -> Bool {
    guard let first = value.first, (97...122).contains(first | 32) else { return false }
    return value.allSatisfy { byte in
      (97...122).contains(byte | 32) || (48...57).contains(byte)
        || byte == UInt8(ascii: "+") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: ".")
    }
  }

  @inline(__always)
  private static func equals(_ value: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    value.count == text.utf8CodeUnitCount
      && memcmp(value.baseAddress.unsafelyUnwrapped, text.utf8Start, value.count) == 0
  }

  private static let post = UInt32(littleEndian: 0x5453_4F50)
  private static let http = UInt32(littleEndian: 0x7074_7468)
  private static let trailers = UInt64(littleEndian: 0x7372_656C_6961_7274)

  /// In any case.
  @inline(__always)
  private static func isTrailers(_ value: UnsafeRawBufferPointer) -> Bool {
    guard value.count == 8 else { return false }
    let word = value.loadUnaligned(as: UInt64.self)
    return word == trailers || word | 0x2020_2020_2020_2020 == trailers
  }
}
