package import Messages
package import RPC
internal import Synchronization

/// The tokens that a service knows, in memory. Answers from a cache of recent headers; knows only hashes of secrets.
package final class TokenTable: Authorizer {
  /// More tokens than this are not taken.
  package static let tokensMax = 100_000
  static let cacheSlots = 256

  private final class Entry: Sendable {
    let principal: Principal
    let secretHash: [UInt8]
    let expiresMilliseconds: Int64
    let revokedMilliseconds: Int64

    init(_ record: ProtoTokenRecord) {
      let token = record.token
      principal = Principal(
        tokenID: token.tokenID, appID: token.appID.isEmpty ? nil : token.appID,
        scopes: Set(token.scopes), isLasting: token.expiresMs == 0)
      secretHash = [UInt8](record.secretHash)
      expiresMilliseconds = token.expiresMs
      revokedMilliseconds = token.revokedMs
    }
  }

  /// A header that was found to be good.
  private struct Slot {
    var header: [UInt8] = []
    var entry: Entry?
  }

  private struct State {
    var entries: [String: Entry] = [:]
    var cache = [Slot](repeating: Slot(), count: TokenTable.cacheSlots)
  }

  private let state = Mutex(State())
  private let changes = AuthorizationEpoch()
  private let scopes: [String: String]
  private let now: @Sendable () -> Int64

  private static let anonymous = Principal(tokenID: "", appID: nil, scopes: [])

  /// - Parameters:
  ///   - scopes: a scope by path (`/grpc.reflection.v1.ServerReflection/ServerReflectionInfo`) for methods that are
  ///     otherwise open.
  ///   - now: the time, ms since 1970.
  package init(
    scopes: [String: String] = [:],
    now: @escaping @Sendable () -> Int64 = { WallClock.nowMilliseconds }
  ) {
    self.scopes = scopes
    self.now = now
  }

  package var count: Int { state.withLock { $0.entries.count } }

  package var epoch: AuthorizationEpoch? { changes }

  /// Puts a token in, or a newer state of it: expiry and revocation hold from the next call on.
  ///
  /// - Returns: whether it was taken; not where the record is malformed or the table is full.
  @discardableResult
  package func apply(_ record: ProtoTokenRecord) -> Bool {
    guard TokenSecret.isIdentifier(record.token.tokenID), record.secretHash.count == 32 else {
      return false
    }
    let entry = Entry(record)
    return state.withLock { state in
      guard
        state.entries[record.token.tokenID] != nil || state.entries.count < Self.tokensMax
      else { return false }
      state.entries[record.token.tokenID] = entry
      state.cache = [Slot](repeating: Slot(), count: Self.cacheSlots)
      changes.advance()
      return true
    }
  }

  package func authorize(
    _ method: MethodDescriptor, authorization: UnsafeRawBufferPointer?
  ) throws(RPCError) -> Principal {
    let needed: String
    switch method.access {
    case .scope(let scope): needed = scope
    case .open:
      guard !scopes.isEmpty, let scope = scopes[method.path] else { return Self.anonymous }
      needed = scope
    }
    let entry = try entry(authorization)
    guard entry.revokedMilliseconds == 0 else {
      throw Self.refused("the token \(entry.principal.tokenID) is revoked")
    }
    guard entry.expiresMilliseconds == 0 || now() < entry.expiresMilliseconds else {
      throw Self.refused("the token \(entry.principal.tokenID) has expired")
    }
    guard entry.principal.holds(needed) else {
      throw RPCError(
        .permissionDenied, "the token \(entry.principal.tokenID) lacks the scope \(needed)")
    }
    return entry.principal
  }

  private func entry(_ authorization: UnsafeRawBufferPointer?) throws(RPCError) -> Entry {
    guard let header = authorization else {
      throw Self.refused("no token: send it as \"Bearer ff_...\"")
    }
    guard header.count <= Self.headerBytesMax else {
      throw Self.refused("\(header.count) bytes are more than the \(Self.headerBytesMax) of a token")
    }
    let slot = Self.slot(of: header)
    let cached = state.withLock { state in
      Self.equal(state.cache[slot].header, header) ? state.cache[slot].entry : nil
    }
    if let cached { return cached }
    return try verified(header, slot: slot)
  }

  private func verified(
    _ header: UnsafeRawBufferPointer, slot: Int
  ) throws(RPCError) -> Entry {
    // RFC 6750: the scheme in any case, one space, the token.
    let scheme = header.prefix(7).map { $0 | 0x20 }
    let secret = [UInt8](header.dropFirst(7))
    guard scheme.elementsEqual("bearer ".utf8), let tokenID = TokenSecret.identifier(of: secret)
    else { throw Self.refused("malformed: \"Bearer ff_<id>_<43 characters>\" is wanted") }
    let hash = TokenSecret.hash(secret)
    let found = state.withLock { state -> Entry? in
      guard
        let entry = state.entries[tokenID],
        entry.secretHash.withUnsafeBytes({ Self.equal(hash, $0) })
      else { return nil }
      state.cache[slot] = Slot(header: [UInt8](header), entry: entry)
      return entry
    }
    // One answer for an unknown identifier and for a wrong secret.
    guard let found else { throw Self.refused("unknown token") }
    return found
  }

  private static let headerBytesMax = 7 + TokenSecret.bytesMax

  private static func refused(_ reason: String) -> RPCError {
    RPCError(.unauthenticated, "authorization: \(reason)")
  }

  /// Any function of the bytes will do: who finds two headers for one slot makes himself slow, and the bytes are compared.
  private static func slot(of header: UnsafeRawBufferPointer) -> Int {
    var hash = UInt64(header.count)
    var index = 0
    while index &+ 8 <= header.count {
      let word = header.loadUnaligned(fromByteOffset: index, as: UInt64.self)
      hash = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
      hash ^= hash >> 29
      index &+= 8
    }
    // The last bytes, some of them for a second time.
    if header.count >= 8 {
      hash ^= header.loadUnaligned(fromByteOffset: header.count &- 8, as: UInt64.self)
    }
    return Int(truncatingIfNeeded: (hash &* 0x9E37_79B9_7F4A_7C15) >> 40) & (cacheSlots - 1)
  }

  /// Takes the same time wherever the bytes differ, so that nobody can guess them one by one.
  private static func equal(_ a: [UInt8], _ b: UnsafeRawBufferPointer) -> Bool {
    guard a.count == b.count else { return false }
    var difference: UInt8 = 0
    for index in 0..<a.count { difference |= a[index] ^ b[index] }
    return difference == 0
  }
}
