internal import HTTP2

/// What a response's headers or trailers say, found in one pass; only a failure costs a `String`.
struct ResponseHead {
  /// What `grpc-encoding` says.
  enum Encoding { case known(MessageEncoding), unknown }

  var httpStatus: Int?
  var isGRPC = false
  var status: StatusCode?
  var message = ""
  var details: [UInt8] = []
  var encoding: Encoding?
  var pushback: RetryPushback?

  init(_ stream: StreamPointer, _ block: HeaderBlock) {
    stream.forEachHeader(in: block) { known, name, value in
      switch known {
      case .status: httpStatus = Self.number(value, digitsMax: 3)
      case .contentType: isGRPC = RequestHead.isGRPC(value)
      case .grpcStatus:
        // A status that is no known number, or is not written as one, counts as UNKNOWN.
        status = Self.number(value, digitsMax: 2).flatMap(StatusCode.init) ?? .unknown
      case .grpcMessage: message = HeaderCoding.percentDecode(value)
      case .grpcStatusDetails: details = HeaderCoding.base64Decode(value) ?? []
      case .grpcEncoding: encoding = Self.encoding(value)
      case .custom: if Self.equals(name, "grpc-retry-pushback-ms") { pushback = RetryPushback(value) }
      default: break
      }
    }
  }

  /// A decimal number without sign or leading zeros.
  private static func number(_ bytes: UnsafeRawBufferPointer, digitsMax: Int) -> Int? {
    guard (1...digitsMax).contains(bytes.count), bytes.count == 1 || bytes[0] != 0x30 else {
      return nil
    }
    var number = 0
    for byte in bytes {
      guard (0x30...0x39).contains(byte) else { return nil }
      number = number * 10 + Int(byte - 0x30)
    }
    return number
  }

  private static func encoding(_ value: UnsafeRawBufferPointer) -> Encoding {
    if equals(value, "identity") { return .known(.identity) }
    return equals(value, "gzip") ? .known(.gzip) : .unknown
  }

  @inline(__always)
  private static func equals(_ value: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard value.count == text.utf8CodeUnitCount else { return false }
    for index in 0..<value.count where value[index] != text.utf8Start[index] { return false }
    return true
  }

  /// For an answer without `grpc-status` (grpc/doc/http-grpc-status-mapping.md).
  static func error(httpStatus: Int?) -> RPCError {
    let code: StatusCode =
      switch httpStatus {
      case 400, 431: .internal
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .unimplemented
      case 429, 502, 503, 504: .unavailable
      default: .unknown
      }
    let answer = httpStatus.map { "HTTP status \($0)" } ?? "no HTTP status"
    return RPCError(code, "the server answered with \(answer), and not with gRPC")
  }

  /// For a stream that was reset without `grpc-status` (PROTOCOL-HTTP2.md, Errors).
  static func error(resetCode: UInt32) -> RPCError {
    let code: StatusCode =
      switch resetCode {
      case HTTP2ErrorCode.refusedStream: .unavailable
      case HTTP2ErrorCode.cancel: .cancelled
      case HTTP2ErrorCode.enhanceYourCalm: .resourceExhausted
      case HTTP2ErrorCode.inadequateSecurity: .permissionDenied
      default: .internal
      }
    return RPCError(code, "the server reset the stream without a status, HTTP/2 error code \(resetCode)")
  }
}
