import HTTP2
import RPC

/// A server's connection without a socket.
final class ServerUnderTest {
  let driver = InlineDriver()
  let connection: ServerConnection
  private(set) var failed = false

  /// Shared by all inputs, as connections of one loop share it.
  // nonisolated(unsafe): one thread only.
  private nonisolated(unsafe) static let memory = SessionMemory()

  init(_ services: [any ServiceHandlers]) {
    var limits = ServerLimits()
    limits.messageBytesMax = 4_096
    limits.unsentBytesMax = 4_096
    let core = ServerCore(
      router: Router(services), limits: limits, authorizer: OpenAuthorizer(),
      observer: SilentObserver())
    guard
      let connection = try? ServerConnection(
        core: core, driver: driver, peer: "fuzz", memory: Self.memory)
    else { preconditionFailure("no memory for a connection") }
    self.connection = connection
  }

  /// Takes bytes as the transport would, and drops what is to be sent.
  func receive(_ bytes: UnsafeRawBufferPointer) {
    guard !failed, !driver.isClosed else { return }
    do {
      try connection.receive(bytes)
    } catch {
      failed = true
    }
    settle()
  }

  func receive(_ bytes: [UInt8]) { bytes.withUnsafeBytes { receive($0) } }

  private func settle() {
    driver.runWaiting()
    while connection.http2.nextOutput() != nil { connection.processEvents() }
    driver.runWaiting()
  }

  /// The end of the connection: nothing may be left.
  func end() {
    connection.connectionLost()
    driver.runWaiting()
    precondition(connection.http2.liveStreams == 0, "streams outlive their connection")
  }
}

/// Handlers of every kind.
struct FuzzService: ServiceHandlers {
  static let serviceName = "f.F"

  static func method(_ name: String, _ kind: MethodDescriptor.Kind) -> MethodDescriptor {
    MethodDescriptor(service: serviceName, method: name, kind: kind, access: .open)
  }

  var methodHandlers: [MethodHandler] {
    [
      MethodHandler(Self.method("L", .unary), .loop { $0.reply($0.message) }),
      MethodHandler(
        Self.method("U", .unary),
        .unary { message, context in
          for entry in context.metadata.entries {
            context.response.addTrailing(entry.name, bytes: entry.value)
          }
          return message
        }),
      MethodHandler(
        Self.method("S", .bidirectional),
        .streaming { requests, responses, _ in
          for try await message in requests { try await responses.send(message) }
        }),
    ]
  }
}

enum ServerFrames {
  private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)

  static func run(_ bytes: UnsafeRawBufferPointer) {
    let server = ServerUnderTest([FuzzService()])
    server.receive(preface)
    for piece in Pieces(bytes) { server.receive(piece) }
    server.end()
  }
}
