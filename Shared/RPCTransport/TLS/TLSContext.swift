internal import NIOCore
internal import NIOSSL
package import RPC
internal import Synchronization

/// TLS of one side, from files that may be replaced while the process runs: connections made after `reloadIfChanged` use the
/// new ones, those that stand keep theirs. TLS 1.2 or later with ALPN `h2` (RFC 9113, 3.2).
package final class TLSContext: Sendable {
  package enum Role: Sendable { case server, client }

  package enum Reload: Sendable, Equatable {
    case unchanged
    case reloaded
    /// The files are of no use: what was read before them stays. Said once per change.
    case kept(TLSProblem)
  }

  private struct State {
    var context: NIOSSLContext
    var expiresSeconds: Int?
    var stamps: [FileStamp]
  }

  package let role: Role
  package let files: TLSFiles
  private let state: Mutex<State>
  /// Of a server: connections that it does not know yet.
  private let handshaking = Mutex<[ObjectIdentifier: any NIOCore.Channel]>([:])

  /// Connections whose handshake ended well.
  package let handshakesCompleted = AtomicCounter()
  /// Connections that failed before they could speak HTTP/2: a wrong or missing certificate, no ALPN, no TLS at all, too slow.
  package let handshakesFailed = AtomicCounter()
  package let reloads = AtomicCounter()
  package let reloadsFailed = AtomicCounter()

  /// - Throws: `TLSProblem` where a file is missing, malformed, or a key that everybody may read.
  package init(_ role: Role, _ files: TLSFiles) throws(TLSProblem) {
    self.role = role
    self.files = files
    let stamps = files.all.map { FileStamp($0) }
    let (context, expiresSeconds) = try Self.load(role, files)
    state = Mutex(State(context: context, expiresSeconds: expiresSeconds, stamps: stamps))
  }

  /// When our own certificate expires, s since 1970; nil without one.
  package var expiresSeconds: Int? { state.withLock { $0.expiresSeconds } }

  var current: NIOSSLContext { state.withLock { $0.context } }

  /// Looks at the files and reads them where they have changed. Cost: one `stat` per file; some ms where they have.
  @discardableResult
  package func reloadIfChanged() -> Reload {
    // Before reading: a change while we read is seen next time.
    let stamps = files.all.map { FileStamp($0) }
    guard state.withLock({ $0.stamps }) != stamps else { return .unchanged }
    do throws(TLSProblem) {
      let (context, expiresSeconds) = try Self.load(role, files)
      state.withLock { $0 = State(context: context, expiresSeconds: expiresSeconds, stamps: stamps) }
      reloads.add(1)
      return .reloaded
    } catch {
      state.withLock { $0.stamps = stamps }
      reloadsFailed.add(1)
      return .kept(error)
    }
  }

  // MARK: - Handshakes

  func handshakeBegins(_ channel: any NIOCore.Channel) {
    handshaking.withLock { $0[ObjectIdentifier(channel)] = channel }
  }

  func handshakeEnded(_ channel: any NIOCore.Channel, well: Bool) {
    _ = handshaking.withLock { $0.removeValue(forKey: ObjectIdentifier(channel)) }
    (well ? handshakesCompleted : handshakesFailed).add(1)
  }

  /// Cuts connections that have not come to HTTP/2: nothing of them would be lost.
  func closeHandshaking() {
    for channel in handshaking.withLock({ Array($0.values) }) { channel.close(promise: nil) }
  }

  // MARK: - From files

  private static func load(
    _ role: Role, _ files: TLSFiles
  ) throws(TLSProblem) -> (NIOSSLContext, expiresSeconds: Int?) {
    let identity = try identity(role, files)
    var configuration = TLSConfiguration.makeClientConfiguration()
    if role == .server, let identity {
      configuration = .makeServerConfiguration(
        certificateChain: identity.chain.map { .certificate($0) }, privateKey: .privateKey(identity.key))
    } else if let identity {
      configuration.certificateChain = identity.chain.map { .certificate($0) }
      configuration.privateKey = .privateKey(identity.key)
    }
    configuration.minimumTLSVersion = .tlsv12
    configuration.applicationProtocols = ["h2"]
    configuration.cipherSuiteValues = suites
    // HTTP/2 has said that it is over: nobody needs to wait long for TLS to say so too.
    configuration.shutdownTimeout = .seconds(1)
    try addTrust(role, files, to: &configuration)
    do {
      let context = try NIOSSLContext(configuration: configuration)
      return (context, identity?.chain.first.map { Int($0.notValidAfter) })
    } catch {
      throw TLSProblem(
        description: "\(files.all.joined(separator: ", ")): cannot be used together: \(error)")
    }
  }

  /// Those of TLS 1.3, and of TLS 1.2 those that RFC 9113, appendix A, does not forbid.
  private static let suites: [NIOTLSCipher] = [
    .TLS_AES_128_GCM_SHA256, .TLS_AES_256_GCM_SHA384, .TLS_CHACHA20_POLY1305_SHA256,
    .TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    .TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    .TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, .TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    .TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
  ]

  /// nil: a client that shows no certificate.
  private static func identity(
    _ role: Role, _ files: TLSFiles
  ) throws(TLSProblem) -> (chain: [NIOSSLCertificate], key: NIOSSLPrivateKey)? {
    guard !files.certificate.isEmpty, !files.key.isEmpty else {
      if role == .client, files.certificate.isEmpty, files.key.isEmpty { return nil }
      throw TLSProblem(description: "TLS: a certificate needs its key, and a key its certificate")
    }
    let chain = try certificates(files.certificate)
    let bytes = try TLSFiles.read(files.key, isSecret: true)
    do {
      return (chain, try NIOSSLPrivateKey(bytes: bytes, format: .pem))
    } catch {
      throw TLSProblem(description: "\(files.key): not a private key in PEM")
    }
  }

  private static func addTrust(
    _ role: Role, _ files: TLSFiles, to configuration: inout TLSConfiguration
  ) throws(TLSProblem) {
    guard !files.authorities.isEmpty else { return }
    configuration.trustRoots = .certificates(try certificates(files.authorities))
    // A client's certificate names a client, no host.
    configuration.certificateVerification = role == .server ? .noHostnameVerification : .fullVerification
  }

  private static func certificates(_ path: String) throws(TLSProblem) -> [NIOSSLCertificate] {
    let bytes = try TLSFiles.read(path)
    guard let certificates = try? NIOSSLCertificate.fromPEMBytes(bytes), !certificates.isEmpty else {
      throw TLSProblem(description: "\(path): no certificate in PEM")
    }
    return certificates
  }
}
