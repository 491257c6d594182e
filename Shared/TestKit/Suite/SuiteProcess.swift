internal import Foundation
internal import Messages
package import RPCTransport
internal import RPC

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// One service of the suite as its real executable, on a port of its own, with its files in a folder.
package final class SuiteProcess: Sendable {
  package enum Service: String, CaseIterable, Sendable {
    case ingest
    case userProfile = "user-profile"
    case query
    case liveStats = "live-stats"
  }

  package let service: Service
  package let port: Int
  private let process: ChildProcess

  /// - Parameters:
  ///   - ingestPort: of consumers: where ingest listens or will listen.
  ///   - data: the folder of its files; shared by the suite.
  package init(_ service: Service, data: String, ingestPort: Int? = nil, arguments: [String] = [])
    throws
  {
    self.service = service
    port = try service == .ingest ? ingestPort ?? FreePort.find() : FreePort.find()
    var all = ["--port", "\(port)", "--metrics-port", "0", "--data", data, "--event-loops", "1"]
    if service != .ingest, let ingestPort {
      all += ["--ingest-port", "\(ingestPort)", "--ingest-token-file", "\(data)/service.token"]
    }
    process = ChildProcess(
      program: "\(Self.programs)/\(service.rawValue)", arguments: all + arguments,
      outputPath: "\(data)/\(service.rawValue).log")
  }

  /// The executables lie beside the program that runs the tests.
  private static let programs: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    return URL(fileURLWithPath: own).deletingLastPathComponent().path
  }()

  package var isRunning: Bool { process.isRunning }
  package var output: String { process.output }

  /// Starts it and waits until it takes calls.
  package func start() async throws {
    let earlier = process.output.utf8.count
    try process.start()
    try await process.waitForOutput("ready: \(service.rawValue) on", from: earlier, timeoutMilliseconds: 30_000)
  }

  /// SIGKILL: as if the power of this process were cut.
  package func kill() { process.kill() }

  /// SIGTERM. Returns the exit status.
  package func terminate() async throws -> Int32 { try await process.terminate() }

  /// A client of it.
  package func channel(token: String?) -> Channel {
    var configuration = ChannelConfiguration()
    configuration.backoffInitialMilliseconds = 20
    configuration.backoffMaxMilliseconds = 100
    return Channel(host: "127.0.0.1", port: port, token: token, configuration: configuration)
  }
}

/// A port of loopback that nobody listens on now.
package enum FreePort {
  package static func find() throws -> Int {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { throw ChildProcess.Failure(description: "no socket") }
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        bind(descriptor, generic, length) == 0 ? getsockname(descriptor, generic, &length) : -1
      }
    }
    guard code == 0 else { throw ChildProcess.Failure(description: "no free port") }
    return Int(UInt16(bigEndian: address.sin_port))
  }
}
