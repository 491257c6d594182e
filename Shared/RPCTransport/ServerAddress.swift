/// Where a server is: a name or a numeric address, and a port.
package struct ServerAddress: Sendable, Hashable, CustomStringConvertible {
  package let host: String
  package let port: Int

  package init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// `host:port`, with brackets around IPv6.
  package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Finds the numeric addresses of a name.
package protocol NameResolver: Sendable {
  /// All addresses, in the order in which to try them, each once.
  ///
  /// - Throws: where the name has none; its text ends in the call's status.
  func addresses(of server: ServerAddress) async throws -> [ServerAddress]
}
