#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The header fields that gRPC gives a meaning; stored without their names, so that a call's headers cost no `String`.
@usableFromInline
package enum HeaderName: UInt8, Sendable {
  /// Any other field: its name is stored before its value.
  case custom = 0
  case path, method, scheme, authority, status
  case contentType, te, userAgent, authorization, contentLength
  case grpcTimeout, grpcEncoding, grpcAcceptEncoding
  case grpcStatus, grpcMessage, grpcStatusDetails, grpcOther

  /// Finds the name by its length and then all of its bytes. `name` is lower case: nghttp2 refuses any other.
  @inline(__always)
  static func classify(_ name: UnsafePointer<UInt8>, _ length: Int) -> HeaderName {
    @inline(__always) func matches(_ text: StaticString) -> Bool {
      memcmp(name, text.utf8Start, length) == 0
    }
    switch length {
    case 2: return matches("te") ? .te : .custom
    case 5: return matches(":path") ? .path : .custom
    case 7:
      if matches(":method") { return .method }
      if matches(":status") { return .status }
      return matches(":scheme") ? .scheme : .custom
    case 10:
      if matches(":authority") { return .authority }
      return matches("user-agent") ? .userAgent : .custom
    case 11: return matches("grpc-status") ? .grpcStatus : .custom
    case 12:
      if matches("content-type") { return .contentType }
      if matches("grpc-timeout") { return .grpcTimeout }
      return matches("grpc-message") ? .grpcMessage : .custom
    case 13:
      if matches("authorization") { return .authorization }
      return matches("grpc-encoding") ? .grpcEncoding : .custom
    case 14: return matches("content-length") ? .contentLength : .custom
    case 20: return matches("grpc-accept-encoding") ? .grpcAcceptEncoding : .custom
    case 23: return matches("grpc-status-details-bin") ? .grpcStatusDetails : .custom
    default: return .custom
    }
  }
}
