/// The custom headers or trailers of a call, in order; a name may occur more than once. Names are lower case; a name that
/// ends in `-bin` carries any bytes, every other one printable ASCII. Reserved names (`grpc-*`, `:path` ...) are never in it.
package struct Metadata: Sendable, Equatable {
  package struct Entry: Sendable, Equatable {
    package var name: String
    /// The value as bytes: of a `-bin` name decoded from base64.
    package var value: [UInt8]
  }

  package private(set) var entries: [Entry] = []

  package init() {}

  package var isEmpty: Bool { entries.isEmpty }

  /// Adds a value behind those of the same name.
  package mutating func add(_ name: String, _ value: String) {
    entries.append(Entry(name: name, value: Array(value.utf8)))
  }

  /// Adds bytes under a name that ends in `-bin`.
  package mutating func add(_ name: String, bytes: [UInt8]) {
    entries.append(Entry(name: name, value: bytes))
  }

  /// The first value of a name as text. Cost: linear in the number of entries.
  package subscript(name: String) -> String? {
    entries.first { $0.name == name }.map { String(decoding: $0.value, as: UTF8.self) }
  }

  /// All values of a name, in order.
  package func values(_ name: String) -> [[UInt8]] {
    entries.filter { $0.name == name }.map(\.value)
  }
}
