/// What is fuzzed: each takes any bytes and must come back; a broken promise ends the process.
package enum FuzzTarget: String, CaseIterable, Sendable {
  /// Bytes of a client into a server's connection.
  case serverFrames = "server-frames"
  /// Bytes of a server into a client's connection with calls under way.
  case clientFrames = "client-frames"
  /// A header block of a request, and of a response.
  case headers
  /// The body of a stream: length-prefixed messages, cut anywhere.
  case framing
  case timeout
  case percent
  case base64

  /// Runs one input.
  package func run(_ bytes: UnsafeRawBufferPointer) {
    switch self {
    case .serverFrames: ServerFrames.run(bytes)
    case .clientFrames: ClientFrames.run(bytes)
    case .headers: Headers.run(bytes)
    case .framing: Framing.run(bytes)
    case .timeout: Codings.timeout(bytes)
    case .percent: Codings.percent(bytes)
    case .base64: Codings.base64(bytes)
    }
  }
}

/// The first byte of an input says in which pieces the rest arrives.
struct Pieces: Sequence, IteratorProtocol {
  private var rest: UnsafeRawBufferPointer.SubSequence
  private let size: Int

  init(_ bytes: UnsafeRawBufferPointer) {
    size = bytes.first.map { $0 == 0 ? Int.max : Int($0) } ?? 1
    rest = bytes.dropFirst()
  }

  mutating func next() -> UnsafeRawBufferPointer? {
    guard !rest.isEmpty else { return nil }
    defer { rest = rest.dropFirst(size) }
    return UnsafeRawBufferPointer(rebasing: rest.prefix(size))
  }
}
