import ArgumentParser
import Foundation
import Messages
import RPC

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// `footfall token`.
struct TokenCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "token", abstract: "Create, list and revoke tokens.",
    subcommands: [Create.self, List.self, Revoke.self])

  struct Create: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Create a token. Its secret is shown once and stored nowhere.")

    @Option(
      name: .customLong("scope"),
      help: """
        ingest:write ingest:import plan:read plan:write profile:read profile:write profile:erase query:read \
        query:users live:read events:read admin; may be given again.
        """)
    var scopes: [String] = []
    @Option(help: "What it is for.")
    var label = ""
    @Option(help: "How long it is valid: 90d, 12h; by default for ever.")
    var expires: String?
    @Option(help: "Write the secret to this new file, readable by its owner only, and not to the terminal.")
    var out: String?
    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      guard !scopes.isEmpty else {
        throw CommandFailure.usage("--scope: at least one is needed, query:read for instance")
      }
      var request = ProtoCreateTokenRequest()
      request.appID = app.appID
      request.scopes = scopes
      request.label = label
      if let expires {
        guard let milliseconds = DurationText.milliseconds(expires) else {
          throw CommandFailure.usage("--expires: \"\(expires)\" is no duration such as 90d")
        }
        request.expiresMs = WallClock.nowMilliseconds + milliseconds
      }
      // Before the token exists: a secret that cannot be written would be lost.
      let file = try out.map(SecretFile.init(path:))
      var answer: ProtoCreateTokenResponse
      do {
        answer = try await connection.withChannel(to: .ingest) { channel in
          try await IngestClient(channel).createToken(request)
        }
      } catch {
        file?.remove()
        throw error
      }
      if let file {
        try file.write(answer.secret)
        answer.secret = ""
      }
      if output.json { return try Printer.json(answer) }
      if let out {
        Printer.line("token \(answer.token.tokenID) is in \(out)")
      } else {
        Printer.line(answer.secret)
      }
    }
  }

  struct List: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List the tokens, without secrets.")

    @OptionGroup var app: AppOptions
    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
      var request = ProtoListTokensRequest()
      request.appID = app.appID
      let answer = try await connection.withChannel(to: .ingest) { channel in
        try await IngestClient(channel).listTokens(request)
      }
      if output.json { return try Printer.json(answer) }
      var table = TextTable([
        ("token", .left), ("app", .left), ("scopes", .left), ("label", .left),
        ("created (UTC)", .left), ("expires (UTC)", .left), ("revoked (UTC)", .left),
      ])
      for token in answer.tokens {
        table.add([
          token.tokenID, token.appID.isEmpty ? "(any)" : token.appID,
          token.scopes.joined(separator: " "), token.label,
          NumberText.time(token.createdMs, zone: "UTC"),
          NumberText.time(token.expiresMs, zone: "UTC"),
          NumberText.time(token.revokedMs, zone: "UTC"),
        ])
      }
      Printer.write(table.text)
    }
  }

  struct Revoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Revoke a token: refused by ingest at once, by every service within 5 s.")

    @Argument(help: "The token's id, not its secret.")
    var tokenID: String
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      // A secret typed here by mistake would stand in the shell's history.
      guard !tokenID.hasPrefix("ff_") else {
        throw CommandFailure.usage("give the token's id (footfall token list), not its secret")
      }
      var request = ProtoRevokeTokenRequest()
      request.tokenID = tokenID
      _ = try await connection.withChannel(to: .ingest) { channel in
        try await IngestClient(channel).revokeToken(request)
      }
      Printer.line("token \(tokenID) is revoked")
    }
  }
}

/// A new file of mode 0600.
struct SecretFile {
  private let path: String

  /// - Throws: where the file exists: a secret never replaces another.
  init(path: String) throws {
    let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw CommandFailure("--out: \(path): \(String(cString: strerror(errno)))")
    }
    close(descriptor)
    self.path = path
  }

  func write(_ secret: String) throws {
    guard let handle = FileHandle(forWritingAtPath: path) else {
      throw CommandFailure("--out: \(path) cannot be written; the secret is lost: revoke the token")
    }
    try handle.write(contentsOf: Data((secret + "\n").utf8))
    try handle.close()
  }

  /// Best effort: an empty file does no harm.
  func remove() { unlink(path) }
}
