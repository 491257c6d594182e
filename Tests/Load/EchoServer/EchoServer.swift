// The server of the RPC load test and of the transport's tests: answers every message with itself.

import Dispatch
import Glibc
import Logging
import RPC
import RPCTransport

struct EchoService: ServiceHandlers {
  static let serviceName = "echo.Echo"

  static func method(_ name: String, _ kind: MethodDescriptor.Kind) -> MethodDescriptor {
    MethodDescriptor(service: serviceName, method: name, kind: kind, access: .open)
  }

  var methodHandlers: [MethodHandler] {
    [
      MethodHandler(Self.method("Unary", .unary), .loop { $0.reply($0.message) }),
      MethodHandler(Self.method("UnaryAsync", .unary), .unary { message, _ in message }),
      MethodHandler(
        Self.method("Stream", .bidirectional),
        .streaming { requests, responses, _ in
          for try await message in requests { try await responses.send(message) }
        }),
      MethodHandler(
        Self.method("Count", .serverStreaming),
        .streaming { requests, responses, _ in
          // The first byte times 1,000 messages of the request's size.
          for try await message in requests {
            for _ in 0..<(Int(message.first ?? 0) * 1_000) { try await responses.send(message) }
          }
        }),
      MethodHandler(
        Self.method("Sleep", .unary),
        .unary { message, context in
          try await Task.sleep(for: .milliseconds(Int(message.first ?? 0) * 100))
          return message
        }),
      MethodHandler(
        Self.method("Fail", .unary),
        .loop { call in
          call.fail(
            RPCError(
              StatusCode(rawValue: Int(call.message.first ?? 2)) ?? .unknown,
              "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n",
              details: [8, 3]))
        }),
      MethodHandler(
        Self.method("Metadata", .unary),
        .unary { message, context in
          for entry in context.metadata.entries where entry.name.hasPrefix("x-") {
            context.response.addInitial(entry.name, bytes: entry.value)
            context.response.addTrailing("t-" + entry.name, bytes: entry.value)
          }
          return message
        }),
    ]
  }
}

@main
struct EchoServer {
  /// Echoes on the port of the first argument (0: any free one) with the event loops of the second, until SIGTERM.
  static func main() {
    // The main thread waits instead of leaving itself to Dispatch, which valgrind does not survive.
    let finished = DispatchSemaphore(value: 0)
    Task.detached {
      do { try await serve() } catch { fatalError("\(error)") }
      finished.signal()
    }
    finished.wait()
  }

  private static func serve() async throws {
    let arguments = CommandLine.arguments
    let port = arguments.count > 1 ? Int(arguments[1]) ?? 0 : 0
    let loops = arguments.count > 2 ? Int(arguments[2]) ?? 1 : 1
    // From the start, so that a signal that comes early is not lost.
    let (signals, source) = terminations()
    let server = RPCServer(
      configuration: ServerConfiguration(port: port, eventLoops: loops),
      services: [EchoService()], authorizer: OpenAuthorizer(), logger: Logger(label: "echo"))
    print("ready: echo on 127.0.0.1:\(try await server.start())")
    fflush(nil)
    for await _ in signals { break }
    source.cancel()
    await server.shutdown(graceMilliseconds: 10_000)
  }

  /// One element per SIGTERM, which no longer ends the process by itself.
  private static func terminations() -> (AsyncStream<Void>, any DispatchSourceSignal) {
    signal(SIGTERM, SIG_IGN)
    let (stream, continuation) = AsyncStream<Void>.makeStream()
    let source = DispatchSource.makeSignalSource(signal: SIGTERM, queue: .global())
    source.setEventHandler { continuation.yield() }
    source.resume()
    return (stream, source)
  }
}
