// The server of the RPC load test and of the transport's tests: answers every message with itself.

import Dispatch
import Glibc
import HTTP2
import Logging
import Messages
import RPC
import RPCTransport
import Synchronization

struct EchoService: ServiceHandlers {
  static let serviceName = "echo.Echo"
  /// Handlers of `Sleep` and `Count` that run now, and the most that ever did.
  let running = HandlerCount()
  /// What `Statistics` answers.
  let statistics: @Sendable () -> String

  static func method(_ name: String, _ kind: MethodDescriptor.Kind) -> MethodDescriptor {
    MethodDescriptor(service: serviceName, method: name, kind: kind, access: .open)
  }

  var methodHandlers: [MethodHandler] {
    let running = running
    let statistics = statistics
    return [
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
          running.began()
          defer { running.ended() }
          // The first byte times 1,000 messages of the request's size.
          for try await message in requests {
            for _ in 0..<(Int(message.first ?? 0) * 1_000) { try await responses.send(message) }
          }
        }),
      // What a message is that nests: a filter of a query.
      .unary(Self.method("Parse", .unary)) { (filter: ProtoFilter, _: CallContext) in
        var answer = ProtoFilter()
        answer.condition.field = filter.kind == nil ? "nothing" : "a filter"
        return answer
      },
      MethodHandler(
        Self.method("Sleep", .unary),
        .unary { message, context in
          running.began()
          defer { running.ended() }
          try await Task.sleep(for: .milliseconds(Int(message.first ?? 0) * 100))
          return message
        }),
      MethodHandler(
        Self.method("Statistics", .unary),
        .loop { $0.reply(Array((statistics() + running.text).utf8)) }),
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

final class HandlerCount: Sendable {
  private let state = Mutex((now: 0, peak: 0))

  func began() {
    state.withLock { state in
      state.now += 1
      state.peak = max(state.peak, state.now)
    }
  }

  func ended() { state.withLock { $0.now -= 1 } }

  var text: String { state.withLock { "handlers_running \($0.now)\nhandlers_peak \($0.peak)\n" } }
}

@main
struct EchoServer {
  /// Limits that may be set by `name=value`, for tests that cannot wait for the real timers.
  // nonisolated(unsafe): key paths to plain values, never written.
  nonisolated(unsafe) static let limits: [String: WritableKeyPath<ServerLimits, Int>] = [
    "connections": \.connectionsMax, "running-calls": \.runningCallsMax,
    "running-handlers": \.runningHandlersMax, "message-bytes": \.messageBytesMax,
    "compress-from": \.compressResponsesFromBytes, "sweep-ms": \.sweepMilliseconds,
    "preface-ms": \.prefaceMilliseconds, "settings-ms": \.settingsMilliseconds,
    "header-block-ms": \.headerBlockMilliseconds, "message-idle-ms": \.messageIdleMilliseconds,
    "write-stall-ms": \.writeStallMilliseconds, "keepalive-ms": \.keepaliveMilliseconds,
    "keepalive-timeout-ms": \.keepaliveTimeoutMilliseconds, "idle-ms": \.connectionIdleMilliseconds,
    "age-ms": \.connectionAgeMilliseconds, "age-grace-ms": \.connectionAgeGraceMilliseconds,
    "resets-burst": \.http2.resetsBurst, "resets-per-second": \.http2.resetsPerSecond,
  ]

  /// Echoes on the port of the first argument (0: any free one) with the event loops of the second, until SIGTERM. Further
  /// arguments set limits: `preface-ms=500`.
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
    let made = MadeServer()
    let server = RPCServer(
      configuration: ServerConfiguration(
        port: port, eventLoops: loops, limits: limits(from: arguments.dropFirst(3))),
      services: [EchoService(statistics: { made.text })], authorizer: OpenAuthorizer(),
      logger: Logger(label: "echo"))
    made.server.withLock { $0 = server }
    print("ready: echo on 127.0.0.1:\(try await server.start())")
    fflush(nil)
    for await _ in signals { break }
    source.cancel()
    await server.shutdown(graceMilliseconds: 10_000)
  }

  private static func limits(from arguments: ArraySlice<String>) -> ServerLimits {
    var limits = ServerLimits()
    for argument in arguments {
      let parts = argument.split(separator: "=").map(String.init)
      guard parts.count == 2, let path = Self.limits[parts[0]], let value = Int(parts[1]) else {
        print("EchoServer: unknown limit \(argument); known: \(Self.limits.keys.sorted().joined(separator: " "))")
        exit(2)
      }
      limits[keyPath: path] = value
    }
    return limits
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

/// The server, once it is made: its own service tells of it.
final class MadeServer: Sendable {
  let server = Mutex<RPCServer?>(nil)

  /// `name value` lines.
  var text: String {
    guard let statistics = server.withLock({ $0 })?.statistics else { return "" }
    var text = "connections_open \(statistics.openConnections)\ncalls_running \(statistics.runningCalls)\n"
    text += "connections_accepted \(statistics.acceptedConnections)\n"
    text += "streams_stalled \(statistics.connections.stalledStreamsCount)\n"
    text += "calls_refused \(statistics.connections.refusedCallsCount)\n"
    for (end, count) in statistics.connections.endsByCause { text += "end_\(end) \(count)\n" }
    return text
  }
}
