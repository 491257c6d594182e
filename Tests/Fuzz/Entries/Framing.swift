import RPC

/// The body of a stream, cut into DATA frames anywhere, against the simplest reading of it.
enum Framing {
  private static let messageBytesMax = 4_096

  // @unchecked: one thread only.
  private final class Received: @unchecked Sendable {
    var messages: [[UInt8]] = []
    var ended = false
  }

  private struct Service: ServiceHandlers {
    static let serviceName = "f.F"
    let received: Received

    var methodHandlers: [MethodHandler] {
      [
        MethodHandler(
          FuzzService.method("S", .clientStreaming),
          .streaming { requests, _, _ in
            for try await message in requests { received.messages.append(message) }
            received.ended = true
          })
      ]
    }
  }

  static func run(_ bytes: UnsafeRawBufferPointer) {
    // Within the first window: more would have to wait for the server's.
    guard bytes.count <= 60_000 else { return }
    let received = Received()
    let server = ServerUnderTest([Service(received: received)])
    server.receive(Frames.greeting + Frames.frame(1, 4, 1, Frames.request("S")))
    for piece in Pieces(bytes) {
      for at in stride(from: 0, to: piece.count, by: 16_384) {
        let part = Array(piece[at..<min(piece.count, at + 16_384)])
        server.receive(Frames.frame(0, 0, 1, part))
      }
    }
    server.receive(Frames.frame(0, 1, 1, []))
    let (messages, whole) = reference(Array(bytes.dropFirst()))
    precondition(received.ended == whole, "the end of the stream is judged wrongly")
    if whole {
      precondition(received.messages == messages, "other messages than were sent")
    } else {
      precondition(messages.starts(with: received.messages), "messages that were not sent")
    }
    server.end()
  }

  /// The messages at the front, and whether nothing else is there.
  private static func reference(_ body: [UInt8]) -> (messages: [[UInt8]], whole: Bool) {
    var messages: [[UInt8]] = []
    var rest = body[...]
    while rest.count >= 5 {
      let length = rest.dropFirst().prefix(4).reduce(0) { $0 << 8 | Int($1) }
      guard rest[rest.startIndex] == 0, length <= messageBytesMax, rest.count - 5 >= length else { break }
      messages.append(Array(rest.dropFirst(5).prefix(length)))
      rest = rest.dropFirst(5 + length)
    }
    return (messages, rest.isEmpty)
  }
}
