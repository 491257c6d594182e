internal import NIOPosix

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The system's resolver (getaddrinfo), on a thread of its own pool: it may block for as long as it likes.
package struct SystemResolver: NameResolver {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  package init() {}

  package func addresses(of server: ServerAddress) async throws -> [ServerAddress] {
    if Self.isNumeric(server.host) { return [server] }
    return try await NIOThreadPool.singleton.runIfActive { try Self.find(server) }
  }

  /// Whether a host needs no resolver.
  static func isNumeric(_ host: String) -> Bool {
    // Room for an address of either family.
    var address = [UInt8](repeating: 0, count: 16)
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1
  }

  private static func find(_ server: ServerAddress) throws -> [ServerAddress] {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(server.host, nil, &hints, &list)
    guard code == 0 else {
      throw Failure(description: "the name \(server.host): \(String(cString: gai_strerror(code)))")
    }
    defer { freeaddrinfo(list) }
    var found: [ServerAddress] = []
    var entry = list
    while let current = entry, found.count < ChannelConfiguration.addressesMax {
      if let host = numericHost(current.pointee) {
        let address = ServerAddress(host: host, port: server.port)
        if !found.contains(address) { found.append(address) }
      }
      entry = current.pointee.ai_next
    }
    return found
  }

  private static func numericHost(_ entry: addrinfo) -> String? {
    var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    guard
      getnameinfo(
        entry.ai_addr, entry.ai_addrlen, &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST) == 0
    else { return nil }
    return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
  }
}
