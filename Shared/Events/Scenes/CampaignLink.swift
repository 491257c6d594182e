/// The path that opens a page of a mini program and says where from: `pages/tea?utm_source=mail&qr_id=poster`.
///
/// Names and values are percent-encoded UTF-8 (RFC 3986, 2.1): everything but the unreserved characters. A space is `%20`
/// and a `+` is `%2B`, because mini programs hand the query over without turning `+` into a space.
package struct CampaignLink: Sendable, Equatable {
  package struct Parameter: Sendable, Equatable {
    package var name: String
    package var value: String

    package init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  package var pagePath = ""
  package var source = ""
  package var medium = ""
  package var name = ""
  package var content = ""
  package var term = ""
  package var qrID = ""
  /// Of the app's own.
  package var others: [Parameter] = []

  package init() {}

  /// Our parameters, in the order in which links have them. The `utm_` names are those that other tools know.
  private static let fields:
    [(name: String, path: any WritableKeyPath<CampaignLink, String> & Sendable)] = [
      ("utm_source", \.source), ("utm_medium", \.medium), ("utm_campaign", \.name),
      ("utm_content", \.content), ("utm_term", \.term), ("qr_id", \.qrID),
    ]

  package static let reservedNames: Set<String> = Set(fields.map(\.name))

  /// Empty where the link says nothing.
  package var query: String {
    let own = Self.fields.map { Parameter(name: $0.name, value: self[keyPath: $0.path]) }
    return (own.filter { !$0.value.isEmpty } + others)
      .map { "\(Self.encoded($0.name))=\(Self.encoded($0.value))" }.joined(separator: "&")
  }

  package var path: String { query.isEmpty ? pagePath : "\(pagePath)?\(query)" }

  private static func encoded(_ text: String) -> String {
    var bytes: [UInt8] = []
    let digits = Array("0123456789ABCDEF".utf8)
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"), UInt8(ascii: "~"):
        bytes.append(byte)
      default: bytes += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Why a text is no link.
  package enum Fault: Error, Equatable, CustomStringConvertible {
    /// A `%` without two hexadecimal digits behind it.
    case badEncoding(String)
    case badUTF8(String)
    case repeated(String)

    package var description: String {
      switch self {
      case .badEncoding(let part): "a % without two hexadecimal digits in \"\(part)\""
      case .badUTF8(let part): "\"\(part)\" is no UTF-8"
      case .repeated(let name): "the parameter \"\(name)\" is given twice"
      }
    }
  }

  /// Reads what `path` wrote, and any other link. A leading slash of the path is dropped, and what stands behind a `#`.
  package init(parsing link: String) throws(Fault) {
    let text = link.prefix { $0 != "#" }
    let parts = text.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    pagePath = try Self.decoded(parts[0].drop { $0 == "/" })
    guard parts.count == 2 else { return }
    var seen: Set<String> = []
    for pair in parts[1].split(separator: "&") {
      let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      let name = try Self.decoded(halves[0])
      let value = halves.count == 2 ? try Self.decoded(halves[1]) : ""
      guard seen.insert(name).inserted else { throw .repeated(name) }
      if let field = Self.fields.first(where: { $0.name == name }) {
        self[keyPath: field.path] = value
      } else {
        others.append(Parameter(name: name, value: value))
      }
    }
  }

  private static func decoded(_ text: Substring) throws(Fault) -> String {
    var bytes: [UInt8] = []
    var rest = Array(text.utf8)[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(digit), let low = rest.popFirst().flatMap(digit) else {
        throw .badEncoding(String(text.prefix(64)))
      }
      bytes.append(high << 4 | low)
    }
    guard let decoded = String(validating: bytes, as: UTF8.self) else {
      throw .badUTF8(String(text.prefix(64)))
    }
    return decoded
  }

  private static func digit(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
  }
}
