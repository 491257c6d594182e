// The server of Tests/Conformance: gRPC's interop services on our transport.

import Dispatch
import Glibc
import Logging
import RPC
import RPCTransport

@main
struct InteropServer {
  /// `InteropServer PORT [JOURNAL]`: serves until SIGTERM (port 0: any free one), then writes which calls had begun.
  static func main() async throws {
    let arguments = CommandLine.arguments
    guard arguments.count >= 2, let port = Int(arguments[1]) else {
      print("usage: InteropServer PORT [JOURNAL]")
      exit(2)
    }
    // From the start, so that a signal that comes early is not lost.
    let (signals, source) = terminations()
    let journal = Journal()
    let server = RPCServer(
      configuration: ServerConfiguration(port: port),
      services: [OfferedMethods(service: TestService(journal: journal)), RawService()],
      authorizer: TokenAuthorizer(), logger: Logger(label: "interop"))
    print("ready: interop on 127.0.0.1:\(try await server.start())")
    fflush(nil)
    for await _ in signals { break }
    source.cancel()
    await server.shutdown(graceMilliseconds: 10_000)
    if arguments.count > 2 { try journal.write(to: arguments[2]) }
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
