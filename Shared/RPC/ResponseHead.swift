internal import HTTP2

/// What a response's headers or trailers say.
struct ResponseHead {
  var httpStatus: Int?
  var isGRPC = false
  var status: StatusCode?
  var message = ""
  var details: [UInt8] = []

  init(_ stream: StreamPointer, _ block: HeaderBlock) {
    stream.forEachHeader(in: block) { name, _, value in
      switch name {
      case .status: httpStatus = Int(String(decoding: value, as: UTF8.self))
      case .contentType: isGRPC = RequestHead.isGRPC(value)
      case .grpcStatus:
        // A status that is no known number counts as UNKNOWN.
        status = Int(String(decoding: value, as: UTF8.self)).flatMap(StatusCode.init) ?? .unknown
      case .grpcMessage: message = HeaderCoding.percentDecode(value)
      case .grpcStatusDetails: details = HeaderCoding.base64Decode(value) ?? []
      default: break
      }
    }
  }

  /// For an answer without `grpc-status` (grpc/doc/http-grpc-status-mapping.md).
  static func error(httpStatus: Int) -> RPCError {
    let code: StatusCode =
      switch httpStatus {
      case 400, 431: .internal
      case 401: .unauthenticated
      case 403: .permissionDenied
      case 404: .unimplemented
      case 429, 502, 503, 504: .unavailable
      default: .unknown
      }
    return RPCError(code, "the server answered with HTTP status \(httpStatus) and no grpc-status")
  }

  /// For a stream that ended without `grpc-status` (PROTOCOL-HTTP2.md, Errors).
  static func error(resetCode: UInt32) -> RPCError {
    let code: StatusCode =
      switch resetCode {
      case HTTP2ErrorCode.refusedStream: .unavailable
      case HTTP2ErrorCode.cancel: .cancelled
      case HTTP2ErrorCode.enhanceYourCalm: .resourceExhausted
      case HTTP2ErrorCode.inadequateSecurity: .permissionDenied
      default: .internal
      }
    return RPCError(code, "the server ended the stream without a status, code \(resetCode)")
  }
}
