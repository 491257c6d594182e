import Foundation
import Logging
import RPC
import RPCTransport
import Testing

@Suite("TLS")
struct TLSTests {
  private let certificates: Certificates

  init() throws {
    certificates = try Certificates()
    try certificates.authority("ca")
    try certificates.leaf("server", by: "ca")
  }

  /// A server with TLS; the body gets its port.
  private func withTLSServer(
    _ files: TLSFiles?, limits: ServerLimits = ServerLimits(),
    _ body: (Int, TLSContext?) async throws -> Void
  ) async throws {
    let tls = try files.map { try TLSContext(.server, $0) }
    let server = RPCServer(
      configuration: ServerConfiguration(port: 0, limits: limits, tls: tls),
      services: [ProbeService()], authorizer: OpenAuthorizer(), logger: Logger(label: "test"))
    let port = try await server.start()
    let result: Result<Void, any Error>
    do {
      result = .success(try await body(port, tls))
    } catch {
      result = .failure(error)
    }
    await server.shutdown(graceMilliseconds: 1_000)
    try result.get()
  }

  private func channel(
    _ port: Int, _ files: TLSFiles?, host: String = "127.0.0.1"
  ) throws -> Channel {
    var configuration = ChannelConfiguration()
    configuration.tls = try files.map { try TLSContext(.client, $0) }
    configuration.connectTimeoutMilliseconds = 30_000
    return Channel(host: host, port: port, token: nil, configuration: configuration)
  }

  /// nil: the call went well; else what the error and its cause say.
  private func problem(
    _ port: Int, _ files: TLSFiles?, host: String = "127.0.0.1"
  ) async throws -> String? {
    let channel = try channel(port, files, host: host)
    let error = await failure {
      let echo = try await channel.unary(ProbeService.echo, [1, 2, 3], options: CallOptions(timeoutMilliseconds: 60_000))
      #expect(echo == [1, 2, 3])
    }
    await channel.close()
    if let error { #expect(error.code == .unavailable) }
    return error.map { "\($0)" }
  }

  private func works(
    _ port: Int, _ files: TLSFiles?, host: String = "127.0.0.1",
    sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let found = try await problem(port, files, host: host)
    #expect(found == nil, sourceLocation: sourceLocation)
  }

  private func fails(
    _ port: Int, _ files: TLSFiles?, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let found = try await problem(port, files)
    #expect(found != nil, sourceLocation: sourceLocation)
  }

  @Test("A client that trusts the server's authority calls it, by address and by name")
  func right() async throws {
    try await withTLSServer(certificates.files("server")) { port, tls in
      try await works(port, certificates.files(trusting: "ca"))
      try await works(port, certificates.files(trusting: "ca"), host: "localhost")
      #expect(tls?.handshakesCompleted.value == 2)
      #expect(tls?.handshakesFailed.value == 0)
    }
  }

  @Test("Messages larger than every buffer pass both ways at once")
  func large() async throws {
    try await withTLSServer(certificates.files("server")) { port, _ in
      let channel = try channel(port, certificates.files(trusting: "ca"))
      let message = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) }
      let stream = try await channel.open(ProbeService.stream, options: CallOptions(timeoutMilliseconds: 60_000))
      @Sendable func sendAll() async throws {
        for _ in 0..<4 { try await stream.send(message) }
        try await stream.finishSending()
      }
      async let sent: Void = sendAll()
      var count = 0
      while let echo = try await stream.next() {
        #expect(echo == message)
        count += 1
      }
      try await sent
      #expect(count == 4)
      await channel.close()
    }
  }

  @Test("A client refuses a certificate of another authority, an expired one, one for another host")
  func refusedByClient() async throws {
    try certificates.authority("other")
    try certificates.leaf("expired", by: "ca", days: -1)
    try certificates.leaf("elsewhere", by: "ca", extensions: "elsewhere")
    try await withTLSServer(certificates.files("server")) { port, _ in
      let problem = try await problem(port, certificates.files(trusting: "other"))
      #expect(problem?.contains("CERTIFICATE_VERIFY_FAILED") == true, "\(problem ?? "none")")
      // The system's authorities have never heard of ours.
      try await fails(port, TLSFiles())
    }
    for name in ["expired", "elsewhere"] {
      try await withTLSServer(certificates.files(name)) { port, _ in
        let problem = try await problem(port, certificates.files(trusting: "ca"))
        #expect(problem?.contains("TLS: ") == true, "\(name): \(problem ?? "none")")
      }
    }
  }

  @Test("With an authority for clients, each must show a certificate of its")
  func mutual() async throws {
    try certificates.authority("clients")
    try certificates.leaf("client", by: "clients")
    try await withTLSServer(certificates.files("server", trusting: "clients")) { port, tls in
      try await works(port, certificates.files("client", trusting: "ca"))
      try await fails(port, certificates.files(trusting: "ca"))
      try await fails(port, certificates.files("server", trusting: "ca"))
      #expect(tls?.handshakesCompleted.value == 1)
      // A client may have tried again meanwhile.
      #expect((tls?.handshakesFailed.value ?? 0) >= 2)
    }
  }

  @Test("A client without ALPN is closed")
  func noALPN() async throws {
    try await withTLSServer(certificates.files("server")) { port, tls in
      let process = Process()
      process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      process.arguments = ["openssl", "s_client", "-quiet", "-connect", "127.0.0.1:\(port)"]
      process.standardInput = Pipe()
      process.standardOutput = FileHandle.nullDevice
      process.standardError = FileHandle.nullDevice
      try process.run()
      // It goes on for as long as the connection stands.
      process.waitUntilExit()
      #expect(tls?.handshakesCompleted.value == 0)
      #expect(tls?.handshakesFailed.value == 1)
    }
  }

  @Test("A client without TLS at a port with it, and the other way round, fail with UNAVAILABLE")
  func plaintext() async throws {
    var limits = ServerLimits()
    limits.prefaceMilliseconds = 500
    try await withTLSServer(certificates.files("server"), limits: limits) { port, tls in
      try await fails(port, nil)
      #expect((tls?.handshakesFailed.value ?? 0) >= 1)
    }
    try await withTLSServer(nil, limits: limits) { port, _ in
      let problem = try await problem(port, certificates.files(trusting: "ca"))
      #expect(problem?.contains("TLS: ") == true, "\(problem ?? "none")")
    }
  }

  @Test("A client that never begins the handshake is cut")
  func silent() async throws {
    var limits = ServerLimits()
    limits.prefaceMilliseconds = 200
    try await withTLSServer(certificates.files("server"), limits: limits) { port, tls in
      let stranger = try await Stranger(port: port)
      #expect(stranger.isClosed)
      #expect(tls?.handshakesFailed.value == 1)
    }
  }

  @Test("A client in the middle of its handshake does not hold up the end of the server")
  func silentAtShutdown() async throws {
    let begin = MonotonicClock.now
    var strangers: [Stranger] = []
    var limits = ServerLimits()
    limits.prefaceMilliseconds = 600_000
    try await withTLSServer(certificates.files("server"), limits: limits) { port, tls in
      let tls = try #require(tls)
      strangers.append(try await Stranger(port: port))
      // The server sees it before it sees this one.
      try await works(port, certificates.files(trusting: "ca"))
      #expect(tls.handshakesFailed.value == 0)
    }
    let areClosed = strangers.allSatisfy(\.isClosed)
    #expect(areClosed)
    // Its handshake might take ten minutes.
    #expect(MonotonicClock.now - begin < 300_000_000_000)
  }

  /// A TCP connection that says nothing.
  private final class Stranger {
    let descriptor: Int32

    init(port: Int) async throws {
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = in_port_t(UInt16(port).bigEndian)
      address.sin_addr.s_addr = in_addr_t(UInt32(0x7F00_0001).bigEndian)
      let connected = withUnsafePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
      }
      try #require(connected == 0)
    }

    deinit { close(descriptor) }

    /// Whether the server has closed it; waits until it does or sends something.
    var isClosed: Bool {
      var byte: UInt8 = 0
      return recv(descriptor, &byte, 1, 0) <= 0
    }
  }

  @Test("New connections get a certificate that was replaced, old ones go on; a broken file changes nothing")
  func reload() async throws {
    try certificates.authority("new")
    try certificates.leaf("renewed", by: "new")
    try await withTLSServer(certificates.files("server")) { port, tls in
      let tls = try #require(tls)
      let old = try channel(port, certificates.files(trusting: "ca"))
      _ = try await old.unary(ProbeService.echo, [], options: CallOptions(timeoutMilliseconds: 60_000))
      #expect(tls.reloadIfChanged() == .unchanged)

      try certificates.replace("server.key", with: "renewed.key")
      guard case .kept = tls.reloadIfChanged() else {
        Issue.record("a key that belongs to another certificate was taken")
        return
      }
      #expect(tls.reloadIfChanged() == .unchanged, "the same problem is said once")
      try await works(port, certificates.files(trusting: "ca"))

      try certificates.replace("server.pem", with: "renewed.pem")
      #expect(tls.reloadIfChanged() == .reloaded)
      try await works(port, certificates.files(trusting: "new"))
      try await fails(port, certificates.files(trusting: "ca"))
      _ = try await old.unary(ProbeService.echo, [], options: CallOptions(timeoutMilliseconds: 60_000))
      await old.close()

      try certificates.replace("server.pem", with: "openssl.cnf")
      guard case .kept = tls.reloadIfChanged() else {
        Issue.record("a file without a certificate was taken")
        return
      }
      try await works(port, certificates.files(trusting: "new"))
      #expect((tls.reloads.value, tls.reloadsFailed.value) == (1, 2))
    }
  }

  @Test("A key that everybody may read, a missing file and half an identity are refused with the reason")
  func wrongFiles() throws {
    var files = certificates.files("server")
    chmod(files.key, 0o644)
    #expect(reason(files) == "\(files.key): the key is readable by everybody: chmod 600 is wanted")
    chmod(files.key, 0o600)
    #expect(reason(files) == nil)
    #expect(reason(TLSFiles(certificate: files.certificate)) != nil)
    #expect(reason(TLSFiles(authorities: files.certificate)) != nil)
    files.certificate = certificates.path("missing.pem")
    #expect(reason(files)?.contains("missing.pem: cannot open: No such file") == true)
    files.certificate = files.key
    #expect(reason(files)?.contains("no certificate in PEM") == true)
  }

  private func reason(_ files: TLSFiles) -> String? {
    do {
      _ = try TLSContext(.server, files)
      return nil
    } catch {
      return error.description
    }
  }
}
