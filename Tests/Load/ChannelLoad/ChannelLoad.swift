// How many unary calls one channel makes: `ChannelLoad PORT [SECONDS] [IN_FLIGHT]` against an EchoServer.

import Foundation
import Glibc
import RPC
import RPCTransport

@main
struct ChannelLoad {
  static let method = MethodDescriptor(
    service: "echo.Echo", method: "Unary", kind: .unary, access: .open,
    defaultDeadlineMilliseconds: 10_000)

  static func main() async throws {
    let arguments = CommandLine.arguments.dropFirst().compactMap { Int($0) }
    guard let port = arguments.first else {
      print("usage: ChannelLoad PORT [SECONDS] [IN_FLIGHT]")
      exit(2)
    }
    let seconds = arguments.count > 1 ? arguments[1] : 5
    let inFlight = arguments.count > 2 ? arguments[2] : 100
    let channel = Channel(host: "127.0.0.1", port: port, token: nil)
    // The connection, and the caches, are not what is measured.
    _ = try await calls(on: channel, inFlight, until: .after(milliseconds: 500))
    let begin = MonotonicClock.now
    let cpuBegin = clock()
    let (count, checksum) = try await calls(
      on: channel, inFlight, until: .after(milliseconds: seconds * 1_000))
    let took = Double(MonotonicClock.now - begin) / 1e9
    let cpu = Double(clock() - cpuBegin) / Double(CLOCKS_PER_SEC)
    print(
      String(
        format: "calls_per_second %.0f  client_cpu_us_per_call %.2f  calls %d  checksum %d",
        Double(count) / took, cpu / Double(count) * 1e6, count, checksum))
    await channel.close()
  }

  /// Returns the number of calls and the sum of the first bytes that came back.
  private static func calls(
    on channel: Channel, _ inFlight: Int, until end: Deadline
  ) async throws -> (Int, Int) {
    try await withThrowingTaskGroup(of: (Int, Int).self) { group in
      for index in 0..<inFlight {
        group.addTask {
          let message = [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: 100)
          var (count, checksum) = (0, 0)
          while !end.hasPassed {
            let answer = try await channel.unary(method, message, options: CallOptions())
            checksum &+= Int(answer[0])
            count += 1
          }
          return (count, checksum)
        }
      }
      return try await group.reduce((0, 0)) { ($0.0 + $1.0, $0.1 + $1.1) }
    }
  }
}
