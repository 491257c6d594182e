internal import HTTP2

/// The header fields of a connection's requests. Those that a method always has are made once. Confined to one event loop.
package final class RequestHeaders {
  /// Methods whose fields are kept; a client that makes up methods does not fill the memory.
  private static let methodsMax = 256

  private let common: [HeaderField]
  /// The descriptor is kept with its fields: the key is its address.
  private var kept: [ObjectIdentifier: (MethodDescriptor, [HeaderField])] = [:]

  private static let gzip = HeaderField("grpc-encoding", "gzip")
  private static let timeoutName = Array("grpc-timeout".utf8)

  /// - Parameters:
  ///   - scheme: `http` or `https`.
  ///   - token: sent as `authorization: Bearer ...`.
  package init(scheme: String, authority: String, token: String?) {
    var common = [
      HeaderField(":method", "POST"), HeaderField(":scheme", scheme),
      HeaderField(":authority", authority), HeaderField("content-type", "application/grpc"),
      HeaderField("te", "trailers"), HeaderField("user-agent", "grpc-swift-footfall/1.0"),
      HeaderField("grpc-accept-encoding", MessageEncoding.accepted),
    ]
    if let token { common.append(HeaderField("authorization", "Bearer \(token)")) }
    self.common = common
  }

  func fields(of call: ClientCall) -> [HeaderField] {
    var fields = fields(of: call.request.method)
    if let deadline = call.request.deadline {
      let timeout = HeaderCoding.timeout(milliseconds: deadline.remainingMilliseconds)
      fields.append(HeaderField(name: Self.timeoutName, value: Array(timeout.utf8), isIndexed: false))
    }
    if call.previousAttempts > 0 {
      fields.append(HeaderField("grpc-previous-rpc-attempts", "\(call.previousAttempts)"))
    }
    // Also where the first message is not packed: a stream's headers leave before its messages.
    if call.request.compression == .gzip { fields.append(Self.gzip) }
    for entry in call.request.metadata.entries { fields.append(HeaderField(entry)) }
    return fields
  }

  private func fields(of method: MethodDescriptor) -> [HeaderField] {
    let key = ObjectIdentifier(method)
    if let found = kept[key] { return found.1 }
    // Pseudo fields come first (RFC 9113, 8.3).
    let fields = [common[0], common[1], HeaderField(":path", method.path)] + common[2...]
    if kept.count == Self.methodsMax { kept.removeAll() }
    kept[key] = (method, fields)
    return fields
  }
}
