internal import Crypto

/// The text that a caller shows: `ff_<token_id>_<43 characters>`, the last 256 random bits in base64url.
package struct TokenSecret: Sendable {
  /// For logs and lists. Not secret.
  package let tokenID: String
  /// Shown once, stored nowhere.
  package let text: String

  static let randomBytes = 32
  static let randomCharacters = 43
  static let identifierBytesMax = 32
  /// Bytes of the longest secret, for bounds on headers.
  static let bytesMax = 3 + identifierBytesMax + 1 + randomCharacters

  /// A new token with 60 random bits of identifier and 256 of secret, from the system's generator.
  package static func generate() -> TokenSecret {
    var generator = SystemRandomNumberGenerator()
    let letters = Array("abcdefghijkmnpqrstuvwxyz23456789".utf8)
    precondition(letters.count == 32, "five bits per letter of an identifier")
    let identifier = (0..<12).map { _ in
      letters[Int(UInt8.random(in: 0...255, using: &generator) & 31)]
    }
    let random = (0..<randomBytes).map { _ in UInt8.random(in: 0...255, using: &generator) }
    let tokenID = String(decoding: identifier, as: UTF8.self)
    return TokenSecret(tokenID: tokenID, text: "ff_\(tokenID)_\(base64URL(random))")
  }

  /// What is stored in the secret's place: SHA-256 of the whole text, 32 bytes.
  package var hash: [UInt8] { Self.hash(Array(text.utf8)) }

  static func hash(_ text: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: text)) }

  /// The identifier within a secret's bytes; nil where they have another form.
  static func identifier(of text: [UInt8]) -> String? {
    guard text.count <= bytesMax, text.starts(with: "ff_".utf8) else { return nil }
    guard let end = text[3...].firstIndex(of: UInt8(ascii: "_")), end > 3 else { return nil }
    guard text.count - end - 1 == randomCharacters else { return nil }
    guard text[3..<end].allSatisfy(isIdentifierByte) else { return nil }
    return String(decoding: text[3..<end], as: UTF8.self)
  }

  /// Whether a text may be a token's identifier: 1-32 of a-z and 0-9.
  static func isIdentifier(_ text: String) -> Bool {
    (1...identifierBytesMax).contains(text.utf8.count) && text.utf8.allSatisfy(isIdentifierByte)
  }

  private static func isIdentifierByte(_ byte: UInt8) -> Bool {
    (97...122).contains(byte) || (48...57).contains(byte)
  }

  /// RFC 4648 section 5, without padding.
  private static func base64URL(_ bytes: [UInt8]) -> String {
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)
    var text: [UInt8] = []
    var bits: UInt32 = 0
    var count = 0
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      count += 8
      while count >= 6 {
        count -= 6
        text.append(letters[Int(bits >> UInt32(count) & 63)])
      }
    }
    if count > 0 { text.append(letters[Int(bits << UInt32(6 - count) & 63)]) }
    return String(decoding: text, as: UTF8.self)
  }
}
