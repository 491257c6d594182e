package import ArgumentParser
import Foundation
package import RPCTransport

/// The services of the suite.
package enum ServiceName: String, Sendable, CaseIterable, ExpressibleByArgument {
  case ingest
  case userProfile = "user-profile"
  case query
  case liveStats = "live-stats"

  var defaultPort: Int {
    switch self {
    case .ingest: 7001
    case .userProfile: 7002
    case .query: 7003
    case .liveStats: 7004
    }
  }

  /// `FOOTFALL_LIVE_STATS`.
  var variable: String {
    "FOOTFALL_" + rawValue.uppercased().replacingOccurrences(of: "-", with: "_")
  }
}

/// Where a service listens.
package struct ServiceAddress: Sendable, Equatable, CustomStringConvertible {
  package let host: String
  package let port: Int

  package init(host: String, port: Int) {
    self.host = host
    self.port = port
  }

  /// Parses `host:port`, `host` or `:port`; an IPv6 address stands in brackets.
  package init?(_ text: String, defaultPort: Int) {
    let portText: Substring?
    if text.hasPrefix("[") {
      guard let end = text.firstIndex(of: "]") else { return nil }
      host = String(text[text.index(after: text.startIndex)..<end])
      let rest = text[text.index(after: end)...]
      guard rest.isEmpty || rest.hasPrefix(":") else { return nil }
      portText = rest.isEmpty ? nil : rest.dropFirst()
    } else {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard parts.count <= 2 else { return nil }
      host = parts[0].isEmpty ? "127.0.0.1" : String(parts[0])
      portText = parts.count == 2 ? parts[1] : nil
    }
    guard !host.isEmpty else { return nil }
    guard let portText else {
      port = defaultPort
      return
    }
    guard let number = Int(portText), (1...65_535).contains(number) else { return nil }
    port = number
  }

  package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Where the services are and who asks. Tokens are read from a file, never from arguments.
package struct ConnectionOptions: ParsableArguments {
  @Option(help: "Folder of the suite's data (FOOTFALL_DATA; default .footfall).")
  package var data: String?

  @Option(
    name: .customLong("token-file"),
    help: "File that holds the token (FOOTFALL_TOKEN_FILE; default admin.token of the data folder).")
  package var tokenFile: String?

  @Option(help: "host:port of ingest (FOOTFALL_INGEST; default 127.0.0.1:7001).")
  package var ingest: String?

  @Option(
    name: .customLong("user-profile"),
    help: "host:port of user-profile (FOOTFALL_USER_PROFILE; default 127.0.0.1:7002).")
  package var userProfile: String?

  @Option(help: "host:port of query (FOOTFALL_QUERY; default 127.0.0.1:7003).")
  package var query: String?

  @Option(
    name: .customLong("live-stats"),
    help: "host:port of live-stats (FOOTFALL_LIVE_STATS; default 127.0.0.1:7004).")
  package var liveStats: String?

  @Flag(help: "Speak TLS (FOOTFALL_TLS=true). On by itself with one of the next three.")
  package var tls = false

  @Option(
    name: .customLong("ca-file"),
    help: "PEM file of those who may have signed the services' certificates (FOOTFALL_CA_FILE; default: whom the system trusts).")
  package var authoritiesFile: String?

  @Option(
    name: .customLong("client-certificate-file"),
    help: "PEM file of the certificate to show (FOOTFALL_CLIENT_CERTIFICATE_FILE).")
  package var clientCertificateFile: String?

  @Option(
    name: .customLong("client-key-file"),
    help: "PEM file of that certificate's key (FOOTFALL_CLIENT_KEY_FILE).")
  package var clientKeyFile: String?

  package init() {}

  package static func variable(_ name: String) -> String? {
    ProcessInfo.processInfo.environment[name].flatMap { $0.isEmpty ? nil : $0 }
  }

  package var dataFolder: String { data ?? Self.variable("FOOTFALL_DATA") ?? ".footfall" }

  package func address(of service: ServiceName) throws -> ServiceAddress {
    let given =
      switch service {
      case .ingest: ingest
      case .userProfile: userProfile
      case .query: query
      case .liveStats: liveStats
      }
    let text = given ?? Self.variable(service.variable) ?? ""
    guard let address = ServiceAddress(text, defaultPort: service.defaultPort) else {
      throw CommandFailure.usage("--\(service.rawValue): \"\(text)\" is not host:port")
    }
    return address
  }

  /// The token's secret.
  package func token() throws -> String {
    let path =
      tokenFile ?? Self.variable("FOOTFALL_TOKEN_FILE") ?? "\(dataFolder)/admin.token"
    guard let data = FileManager.default.contents(atPath: path) else {
      throw CommandFailure("no token: \(path) cannot be read; say --token-file FILE")
    }
    let text = String(decoding: data.prefix(4_096), as: UTF8.self)
    let token = text.trimmingCharacters(in: .whitespacesAndNewlines)
    guard !token.isEmpty, token.utf8.allSatisfy({ (0x21...0x7e).contains($0) }) else {
      throw CommandFailure("\(path) does not hold a token")
    }
    return token
  }

  /// nil: no TLS.
  package func security() throws -> TLSContext? {
    let files = TLSFiles(
      certificate: clientCertificateFile ?? Self.variable("FOOTFALL_CLIENT_CERTIFICATE_FILE") ?? "",
      key: clientKeyFile ?? Self.variable("FOOTFALL_CLIENT_KEY_FILE") ?? "",
      authorities: authoritiesFile ?? Self.variable("FOOTFALL_CA_FILE") ?? "")
    guard tls || Self.variable("FOOTFALL_TLS") == "true" || files != TLSFiles() else { return nil }
    do {
      return try TLSContext(.client, files)
    } catch {
      throw CommandFailure(error.description)
    }
  }

  /// Calls `body` with a channel to the service, and closes it.
  package func withChannel<Value>(
    to service: ServiceName, isTokenRequired: Bool = true,
    _ body: (Channel) async throws -> Value
  ) async throws -> Value {
    let address = try address(of: service)
    let token = isTokenRequired ? try token() : try? token()
    var configuration = ChannelConfiguration()
    configuration.tls = try security()
    let channel = Channel(
      host: address.host, port: address.port, token: token, configuration: configuration)
    let result: Result<Value, any Error>
    do {
      result = .success(try await body(channel))
    } catch {
      result = .failure(error)
    }
    await channel.close()
    return try result.get()
  }
}

/// The app that a command is about.
package struct AppOptions: ParsableArguments {
  @Option(help: "The app (FOOTFALL_APP); not needed with a token of one app.")
  package var app: String?

  package init() {}

  /// Empty: the token's own.
  package var appID: String { app ?? ConnectionOptions.variable("FOOTFALL_APP") ?? "" }
}

/// How the answer is printed.
package struct OutputOptions: ParsableArguments {
  @Flag(help: "Print the answer as JSON, with the names of the proto files.")
  package var json = false

  package init() {}
}
