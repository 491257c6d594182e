import RPC

/// A request whose further header fields are the input, as HPACK; and pairs of name and value as a well-formed block.
enum Headers {
  // @unchecked: one thread only.
  private final class Seen: @unchecked Sendable { var calls = 0 }

  private struct Service: ServiceHandlers {
    static let serviceName = "f.F"
    let seen: Seen

    var methodHandlers: [MethodHandler] {
      [
        MethodHandler(
          FuzzService.method("L", .unary),
          .loop { call in
            seen.calls += 1
            Headers.check(call.context.metadata)
            call.reply(call.message)
          })
      ]
    }
  }

  static func run(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count <= 8_000 else { return }
    let seen = Seen()
    let server = ServerUnderTest([Service(seen: seen)])
    let block = Frames.request("L") + (bytes.first == 0 ? fields(bytes.dropFirst()) : Array(bytes.dropFirst()))
    server.receive(
      Frames.greeting + Frames.frame(1, 4, 1, block)
        + Frames.frame(0, 1, 1, [0, 0, 0, 0, 1, 7]))
    server.end()
    precondition(seen.calls <= 1, "one request was answered twice")
  }

  /// Lines of `name:value` as literal fields.
  private static func fields(_ text: UnsafeRawBufferPointer.SubSequence) -> [UInt8] {
    var block: [UInt8] = []
    for line in text.split(separator: 10) {
      let name = line.prefix { $0 != 58 }.prefix(100)
      let value = line.dropFirst(name.count + 1).prefix(100)
      block += [0, UInt8(name.count)] + name + [UInt8(value.count)] + value
    }
    return block
  }

  /// What a handler is promised about metadata.
  private static func check(_ metadata: Metadata) {
    for entry in metadata.entries {
      precondition(!entry.name.hasPrefix(":") && !entry.name.hasPrefix("grpc-"), "reserved: \(entry.name)")
      precondition(entry.name == entry.name.lowercased(), "not in lower case: \(entry.name)")
      if entry.name.hasSuffix("-bin") { continue }
      precondition(
        entry.value.allSatisfy { $0 == 9 || $0 >= 32 && $0 != 127 },
        "a control character in \(entry.name)")
    }
  }
}
