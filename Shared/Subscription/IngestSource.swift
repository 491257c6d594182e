package import RPC
package import RPCTransport
package import ServiceKit
internal import Synchronization

/// Where a consumer finds ingest. The token's file is read when it is needed: a consumer may be started before ingest, whose
/// first start writes it, and a token that was replaced holds from the next connection on.
package final class IngestSource: ClientTransport {
  package static let host = Setting<String>.text(
    "ingest-host", default: "127.0.0.1", allowed: "address", help: "Where ingest listens.")
  package static let port = Setting<Int>.integer(
    "ingest-port", default: 7001, in: 1...65_535, help: "Port of ingest.")
  package static let tokenFile = Setting<String>.path(
    "ingest-token-file",
    help: """
      File of a token with the scope events:read. Empty: service.token in the data folder, where ingest writes it \
      when both share one.
      """)

  package static let tls = Setting<Bool>.toggle(
    "ingest-tls", help: "Speaks TLS to ingest. On by itself where one of the next three is given."
  ).grouped(group)
  package static let authoritiesFile = Setting<String>.path(
    "ingest-ca-file",
    help: "PEM file of those who may have signed ingest's certificate. Empty: whom the system trusts."
  ).grouped(group)
  package static let certificateFile = Setting<String>.path(
    "ingest-tls-certificate-file", help: "PEM file of the certificate that ingest is shown."
  ).grouped(group)
  package static let keyFile = Setting<String>.path(
    "ingest-tls-key-file", help: "PEM file of that certificate's key."
  ).grouped(group)
  private static let group = "TLS to ingest"

  /// The settings of every consumer.
  package static let settings = [
    host.definition, port.definition, tokenFile.definition, tls.definition,
    authoritiesFile.definition, certificateFile.definition, keyFile.definition,
  ]

  private struct Current {
    let token: String
    let channel: Channel
  }

  private let host: String
  private let port: Int
  private let tokenPath: String
  private let security: TLSContext?
  private let current = Mutex<Current?>(nil)

  package init(host: String, port: Int, tokenPath: String, tls: TLSContext? = nil) {
    self.host = host
    self.port = port
    self.tokenPath = tokenPath
    security = tls
  }

  /// - Throws: `SettingsError`, `TLSProblem` where the files of TLS are of no use.
  package convenience init(_ context: ServiceContext) throws {
    let settings = context.settings
    let path = settings[Self.tokenFile]
    let files = try TLSSettings.files(
      settings, certificate: Self.certificateFile, key: Self.keyFile,
      authorities: Self.authoritiesFile, isServer: false)
    let tls = try (files ?? (settings[Self.tls] ? TLSFiles() : nil)).map {
      try TLSContext(.client, $0)
    }
    self.init(
      host: settings[Self.host], port: settings[Self.port],
      tokenPath: path.isEmpty ? context.file("service.token") : path, tls: tls)
  }

  package func unary(
    _ method: MethodDescriptor, _ request: [UInt8], options: CallOptions
  ) async throws -> [UInt8] {
    try await channel().unary(method, request, options: options)
  }

  package func open(_ method: MethodDescriptor, options: CallOptions) async throws
    -> any ClientStream
  {
    try await channel().open(method, options: options)
  }

  package func close() async {
    let last = current.withLock { current in
      defer { current = nil }
      return current
    }
    await last?.channel.close()
  }

  /// - Throws: UNAVAILABLE while the token cannot be read.
  private func channel() async throws -> Channel {
    let token: String
    do {
      token = try SecretFile.read(tokenPath)
    } catch {
      throw RPCError(.unavailable, "no token for ingest yet: \(error)", cause: error)
    }
    let (channel, old) = current.withLock { current in
      if let current, current.token == token { return (current.channel, nil as Channel?) }
      var configuration = LogFollower.channelConfiguration
      configuration.tls = security
      let channel = Channel(host: host, port: port, token: token, configuration: configuration)
      defer { current = Current(token: token, channel: channel) }
      return (channel, current?.channel)
    }
    await old?.close()
    return channel
  }
}
