import Foundation
import Messages
import RPC
import ServiceKit
import Synchronization
import SwiftProtobuf
import Testing

@Suite("Tokens")
struct TokenTableTests {
  private static let method = MethodDescriptor(
    service: "test.Service", method: "Read", kind: .unary, access: .scope("query:read"))
  private static let open = MethodDescriptor(
    service: "test.Service", method: "Ping", kind: .unary, access: .open)

  private static func record(
    _ secret: TokenSecret, scopes: [String] = ["query:read"], app: String = "shop",
    expires: Int64 = 0, revoked: Int64 = 0
  ) -> ProtoTokenRecord {
    .with {
      $0.token.tokenID = secret.tokenID
      $0.token.appID = app
      $0.token.scopes = scopes
      $0.token.expiresMs = expires
      $0.token.revokedMs = revoked
      $0.secretHash = Data(secret.hash)
    }
  }

  private static func authorize(
    _ table: TokenTable, _ header: String?, method: MethodDescriptor = method
  ) throws(RPCError) -> Principal {
    guard let header else { return try table.authorize(method, authorization: nil) }
    let bytes = Array(header.utf8)
    let result = bytes.withUnsafeBytes { buffer -> Result<Principal, RPCError> in
      do throws(RPCError) {
        return .success(try table.authorize(method, authorization: buffer))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func refusal(
    _ table: TokenTable, _ header: String?, method: MethodDescriptor = method
  ) -> RPCError? {
    do throws(RPCError) {
      _ = try authorize(table, header, method: method)
      return nil
    } catch {
      return error
    }
  }

  @Test("A known token speaks for its app, the first time and from the cache")
  func known() throws {
    let table = TokenTable()
    let secret = TokenSecret.generate()
    table.apply(Self.record(secret))
    for scheme in ["Bearer", "Bearer", "bearer", "BEARER"] {
      let principal = try Self.authorize(table, "\(scheme) \(secret.text)")
      #expect(principal.tokenID == secret.tokenID)
      #expect(principal.appID == "shop")
      #expect(principal.scopes == ["query:read"])
    }
  }

  @Test(
    "A header of another form is UNAUTHENTICATED",
    arguments: [
      "", "Bearer", "Bearer ", "Basic dXNlcg==", "Bearer ff_", "Bearer ff_abc_short",
      "Bearer ff__0123456789012345678901234567890123456789012",
      "Bearer ff_ABC_0123456789012345678901234567890123456789012",
      "Bearer xx_abc_0123456789012345678901234567890123456789012",
      "Bearer ff_abc_01234567890123456789012345678901234567890123",
      "Bearer ff_abc_0123456789012345678901234567890123456789012" + String(repeating: "x", count: 999),
    ])
  func malformed(header: String) {
    let error = Self.refusal(TokenTable(), header)
    #expect(error?.code == .unauthenticated)
  }

  @Test("No header is UNAUTHENTICATED and says what to send")
  func missing() {
    let error = Self.refusal(TokenTable(), nil)
    #expect(error?.code == .unauthenticated)
    #expect(error?.message.contains("Bearer ff_") == true)
  }

  @Test("An unknown token and a wrong secret get the same answer")
  func unknownAndWrong() {
    let table = TokenTable()
    let secret = TokenSecret.generate()
    table.apply(Self.record(secret))
    let last = secret.text.last == "A" ? "B" : "A"
    let wrong = Self.refusal(table, "Bearer \(secret.text.dropLast())\(last)")
    let unknown = Self.refusal(table, "Bearer \(TokenSecret.generate().text)")
    #expect(wrong?.code == .unauthenticated)
    #expect(unknown?.code == .unauthenticated)
    #expect(wrong?.message == unknown?.message)
    #expect(wrong?.message.contains(secret.text.suffix(43).dropLast()) == false)
  }

  @Test("A token ends at its time, even where its header is cached")
  func expired() throws {
    let clock = SharedClock(now: 1_000)
    let table = TokenTable(now: { clock.now })
    let secret = TokenSecret.generate()
    table.apply(Self.record(secret, expires: 2_000))
    _ = try Self.authorize(table, "Bearer \(secret.text)")
    clock.set(1_999)
    _ = try Self.authorize(table, "Bearer \(secret.text)")
    clock.set(2_000)
    let error = Self.refusal(table, "Bearer \(secret.text)")
    #expect(error?.code == .unauthenticated)
    #expect(error?.message.contains("expired") == true)
  }

  @Test("A revoked token is refused from the next call on")
  func revoked() throws {
    let table = TokenTable()
    let secret = TokenSecret.generate()
    table.apply(Self.record(secret))
    _ = try Self.authorize(table, "Bearer \(secret.text)")
    table.apply(Self.record(secret, revoked: 5))
    let error = Self.refusal(table, "Bearer \(secret.text)")
    #expect(error?.code == .unauthenticated)
    #expect(error?.message.contains("revoked") == true)
  }

  @Test("A token without the scope is PERMISSION_DENIED and told which one")
  func missingScope() throws {
    let table = TokenTable()
    let secret = TokenSecret.generate()
    table.apply(Self.record(secret, scopes: ["ingest:write"]))
    let error = Self.refusal(table, "Bearer \(secret.text)")
    #expect(error?.code == .permissionDenied)
    #expect(error?.message.contains("query:read") == true)
    table.apply(Self.record(secret, scopes: ["admin"], app: ""))
    #expect(try Self.authorize(table, "Bearer \(secret.text)").appID == nil)
  }

  @Test("An open method needs no token, unless the table asks for a scope")
  func openMethods() throws {
    _ = try Self.authorize(TokenTable(), nil, method: Self.open)
    let closed = TokenTable(scopes: [Self.open.path: "admin"])
    #expect(Self.refusal(closed, nil, method: Self.open)?.code == .unauthenticated)
  }

  @Test("A malformed record is not taken")
  func malformedRecord() {
    let table = TokenTable()
    let secret = TokenSecret.generate()
    var record = Self.record(secret)
    record.secretHash = Data([1, 2, 3])
    #expect(!table.apply(record))
    record = Self.record(secret)
    record.token.tokenID = "has_underscore"
    #expect(!table.apply(record))
    #expect(table.count == 0)
  }

  @Test("Secrets have their documented form and differ")
  func secrets() {
    var seen: Set<String> = []
    for _ in 0..<100 {
      let secret = TokenSecret.generate()
      #expect(secret.text.wholeMatch(of: /ff_[a-z0-9]{12}_[A-Za-z0-9_-]{43}/) != nil)
      #expect(secret.hash.count == 32)
      #expect(seen.insert(secret.text).inserted)
    }
  }
}

/// A clock that a test sets.
private final class SharedClock: Sendable {
  private let time: Mutex<Int64>
  init(now: Int64) { time = Mutex(now) }
  var now: Int64 { time.withLock { $0 } }
  func set(_ now: Int64) { time.withLock { $0 = now } }
}
