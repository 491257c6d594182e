internal import HTTP2

/// What a request's headers say, found in one pass without making a `String`.
struct RequestHead {
  var path: UnsafeRawBufferPointer?
  var authorization: UnsafeRawBufferPointer?
  var timeoutNanoseconds: Int64?
  var flags: Flags = []

  struct Flags: OptionSet {
    let rawValue: UInt16
    static let post = Flags(rawValue: 1)
    static let grpc = Flags(rawValue: 2)
    static let badTimeout = Flags(rawValue: 4)
    static let unknownEncoding = Flags(rawValue: 8)
    /// Messages may be packed with gzip.
    static let gzip = Flags(rawValue: 16)
    /// Answers may be packed with gzip.
    static let acceptsGzip = Flags(rawValue: 32)
    /// The client negotiates encodings: it is told ours.
    static let negotiates = Flags(rawValue: 64)
    static let te = Flags(rawValue: 128)
    /// The caller sent an `x-request-id`.
    static let named = Flags(rawValue: 256)
    /// There is something that handlers may see.
    static let metadata = Flags(rawValue: 512)
  }

  @inline(__always)
  init(_ stream: StreamPointer) {
    stream.forEachHeader(in: stream.pointee.firstBlock) { name, label, value in
      switch name {
      case .path: path = value
      case .method: if Self.isPost(value) { flags.insert(.post) }
      case .contentType: if Self.isGRPC(value) { flags.insert(.grpc) }
      case .authorization: authorization = value
      case .grpcTimeout:
        timeoutNanoseconds = HeaderCoding.timeoutNanoseconds(value)
        if timeoutNanoseconds == nil { flags.insert(.badTimeout) }
      case .grpcEncoding:
        if Self.equals(value, "gzip") {
          flags.insert(.gzip)
        } else if !Self.equals(value, "identity") {
          flags.insert(.unknownEncoding)
        }
      case .grpcAcceptEncoding:
        flags.insert(.negotiates)
        if Self.names(value, "gzip") { flags.insert(.acceptsGzip) }
      // nghttp2 takes no other value than `trailers`.
      case .te: flags.insert(.te)
      case .userAgent: flags.insert(.metadata)
      case .custom:
        flags.insert(.metadata)
        if Self.isRequestID(label) { flags.insert(.named) }
      default: break
      }
    }
  }

  @inline(__always)
  static func isRequestID(_ name: UnsafeRawBufferPointer) -> Bool { equals(name, "x-request-id") }

  @inline(__always)
  private static func equals(_ value: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard value.count == text.utf8CodeUnitCount else { return false }
    for index in 0..<value.count where value[index] != text.utf8Start[index] { return false }
    return true
  }

  @inline(__always)
  private static func isPost(_ value: UnsafeRawBufferPointer) -> Bool {
    value.count == 4 && value.loadUnaligned(as: UInt32.self) == UInt32(littleEndian: 0x5453_4F50)
  }

  /// Whether a list with commas holds a word.
  static func names(_ list: UnsafeRawBufferPointer, _ word: StaticString) -> Bool {
    var start = 0
    for end in 0...list.count where end == list.count || list[end] == UInt8(ascii: ",") {
      var (first, last) = (start, end)
      while first < last, list[first] == UInt8(ascii: " ") { first &+= 1 }
      while last > first, list[last &- 1] == UInt8(ascii: " ") { last &-= 1 }
      if equals(UnsafeRawBufferPointer(rebasing: list[first..<last]), word) { return true }
      start = end &+ 1
    }
    return false
  }

  /// `application/grpc`, alone or with `+proto`, or with parameters. Another subtype is not ours.
  @inline(__always)
  static func isGRPC(_ value: UnsafeRawBufferPointer) -> Bool {
    let length = 16
    guard value.count >= length,
      value.loadUnaligned(as: UInt64.self) == UInt64(littleEndian: 0x7461_6369_6C70_7061),
      value.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == UInt64(littleEndian: 0x6370_7267_2F6E_6F69)
    else { return false }
    if value.count == length || value[length] == UInt8(ascii: ";") { return true }
    return equals(UnsafeRawBufferPointer(rebasing: value[length...]), "+proto")
      || value.count > length + 6 && value[length + 6] == UInt8(ascii: ";")
        && equals(UnsafeRawBufferPointer(rebasing: value[length..<(length + 6)]), "+proto")
  }

  @inline(__always)
  private static func begins(_ value: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    value.count >= text.utf8CodeUnitCount
      && equals(UnsafeRawBufferPointer(rebasing: value.prefix(text.utf8CodeUnitCount)), text)
  }

  /// The custom metadata of a block. A `-bin` value that is not base64 is kept as it came.
  static func metadata(_ stream: StreamPointer, _ block: HeaderBlock) -> Metadata {
    metadata(stream.fields(of: block))
  }

  static func metadata(_ fields: UnsafeRawBufferPointer) -> Metadata {
    var metadata = Metadata()
    KeptFields.forEach(in: fields) { known, name, value, _ in
      // Judged by its bytes: `String` takes longer to compare than all the rest.
      switch known {
      case .custom: if Self.begins(name, "grpc-") || Self.begins(name, ":") { return }
      case .userAgent: return metadata.add("user-agent", bytes: Array(value))
      default: return
      }
      let label = String(decoding: name, as: UTF8.self)
      guard name.count >= 4, Self.equals(UnsafeRawBufferPointer(rebasing: name.suffix(4)), "-bin")
      else { return metadata.add(label, bytes: Array(value)) }
      // Several values of one name may have been joined by commas on the way.
      for part in value.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
        let bytes = withoutSpaces(UnsafeRawBufferPointer(rebasing: part))
        metadata.add(label, bytes: HeaderCoding.base64Decode(bytes) ?? Array(bytes))
      }
    }
    return metadata
  }

  /// Without the spaces and tabs around a member of a list (RFC 9110, 5.6.1).
  private static func withoutSpaces(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let isSpace = { (byte: UInt8) in byte == 0x20 || byte == 0x09 }
    let rest = bytes.drop(while: isSpace)
    guard let last = rest.lastIndex(where: { !isSpace($0) }) else { return UnsafeRawBufferPointer(rebasing: rest) }
    return UnsafeRawBufferPointer(rebasing: rest[...last])
  }
}
