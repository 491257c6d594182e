internal import NIOCore

/// Which addresses only this machine reaches.
enum Loopback {
  /// `localhost`, 127.0.0.0/8 and ::1. Other names are not looked up: what they mean may change.
  static func contains(_ host: String) -> Bool {
    if host == "localhost" { return true }
    // As the system writes it, so that 127.1 and its like mean what they mean to it.
    guard let address = try? SocketAddress(ipAddress: host, port: 0).ipAddress else { return false }
    return address.hasPrefix("127.") || address == "::1"
  }
}
