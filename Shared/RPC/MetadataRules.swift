/// What gRPC allows of metadata that is sent (PROTOCOL-HTTP2.md, Custom-Metadata).
extension Metadata {
  /// The name of the first entry that must not be sent: reserved, not lower case, or with a value that is not printable ASCII
  /// where the name does not end in `-bin`. nil: all are good.
  package var firstInvalidName: String? { entries.first { !$0.isValid }?.name }
}

extension Metadata.Entry {
  /// Fields that mean something to HTTP/2 or to gRPC itself.
  private static let reserved: Set<String> = [
    "te", "content-type", "content-length", "connection", "keep-alive", "proxy-connection",
    "transfer-encoding", "upgrade", "host",
  ]

  fileprivate var isValid: Bool {
    let name = name.utf8
    guard !name.isEmpty, name.allSatisfy(Self.isNameByte), !self.name.hasPrefix("grpc-"),
      !Self.reserved.contains(self.name)
    else { return false }
    return self.name.hasSuffix("-bin") || value.allSatisfy { (0x20...0x7E).contains($0) }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x61...0x7A, UInt8(ascii: "_"), UInt8(ascii: "-"), UInt8(ascii: "."): true
    default: false
    }
  }
}
