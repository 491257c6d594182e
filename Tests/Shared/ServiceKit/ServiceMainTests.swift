import Foundation
import Messages
import RPC
import RPCTransport
import ServiceKit
import Synchronization
import SwiftProtobuf
import Testing

/// One at a time: signals go to the whole process.
@Suite("The life of a service", .serialized)
struct ServiceMainTests {
  /// What happened, in order.
  private final class Diary: Sendable {
    private let lines = Mutex<[String]>([])
    func note(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  private struct Failure: Error {}

  private static func arguments(_ folder: String) -> [String] {
    ["--port=0", "--metrics-port=0", "--data=\(folder)", "--log-level=error", "--drain-seconds=1"]
  }

  private static func run(
    _ more: [String] = [],
    build: @escaping @Sendable (ServiceContext) async throws -> ServiceParts
  ) async -> Int32 {
    let folder = NSTemporaryDirectory() + "service-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let main = ServiceMain(
      name: "test", summary: "A test.", port: 1, metricsPort: 2, settings: [], build: build)
    return await main.run(arguments: arguments(folder) + more, environment: [:])
  }

  @Test("SIGTERM drains, then ends background work, then closes, with status 0")
  func terminate() async {
    let diary = Diary()
    let status = await Self.run { context in
      ServiceParts(
        handlers: [],
        background: [
          .init("work") {
            // The group listens for signals before it starts its services.
            kill(getpid(), SIGTERM)
            do {
              try await Task.sleep(for: .seconds(60))
            } catch {
              diary.note("cancelled, serving: \(context.health.isServing)")
              throw error
            }
          }
        ],
        drain: { diary.note("drain") }, close: { diary.note("close") })
    }
    #expect(status == 0)
    #expect(diary.all == ["drain", "cancelled, serving: false", "close"])
  }

  @Test("A failure of background work ends the process in order, with status 1")
  func failure() async {
    let diary = Diary()
    let status = await Self.run { _ in
      ServiceParts(
        handlers: [], background: [.init("work") { throw Failure() }],
        drain: { diary.note("drain") }, close: { diary.note("close") })
    }
    #expect(status == 1)
    #expect(diary.all == ["drain", "close"])
  }

  @Test("Background work that ends by itself is a failure")
  func earlyEnd() async {
    #expect(await Self.run { _ in ServiceParts(handlers: [], background: [.init("work") {}]) } == 1)
  }

  @Test("A service that stops itself ends in order, with status 1")
  func stop() async {
    let diary = Diary()
    let status = await Self.run { context in
      context.stop("the disk failed")
      context.stop("again")
      return ServiceParts(handlers: [], close: { diary.note("close") })
    }
    #expect(status == 1)
    #expect(diary.all == ["close"])
  }

  @Test("A service that cannot be built ends with status 1")
  func unbuildable() async {
    #expect(await Self.run { _ in throw Failure() } == 1)
  }

  @Test("An address beyond loopback needs its flag", arguments: [
    "0.0.0.0", "::", "192.0.2.1", "example.org", "127.evil.example", "1270.0.0.1", "",
  ])
  func beyondLoopback(host: String) async {
    let status = await Self.run(["--host=\(host)"]) { _ in
      Issue.record("built")
      throw Failure()
    }
    #expect(status == 2)
    let metrics = await Self.run(["--metrics-host=\(host)"]) { _ in
      Issue.record("built")
      throw Failure()
    }
    #expect(metrics == 2)
  }

  @Test("Loopback and the flag lead on to the build", arguments: [
    ["--host=127.0.0.1"], ["--host=127.8.8.8"], ["--host=::1"], ["--host=localhost"],
    ["--host=0.0.0.0", "--listen-beyond-loopback"],
  ])
  func allowed(arguments: [String]) async {
    let diary = Diary()
    let status = await Self.run(arguments) { _ in
      diary.note("built")
      throw Failure()
    }
    #expect(status == 1)
    #expect(diary.all == ["built"])
  }

  @Test("A certificate without its key is a wrong setting; files that cannot be read end the start", arguments: [
    (["--tls-certificate-file=/nonexistent/a.pem"], 2), (["--tls-key-file=/nonexistent/a.key"], 2),
    (["--tls-client-ca-file=/nonexistent/ca.pem"], 2),
    (["--tls-certificate-file=/nonexistent/a.pem", "--tls-key-file=/nonexistent/a.key"], 1),
  ] as [([String], Int32)])
  func tls(arguments: [String], expected: Int32) async {
    let status = await Self.run(arguments) { _ in
      Issue.record("built")
      throw Failure()
    }
    #expect(status == expected)
  }

  @Test("Help and wrong settings do not build")
  func help() async {
    #expect(await Self.run(["--help"]) { _ in throw Failure() } == 0)
    #expect(await Self.run(["--help-markdown"]) { _ in throw Failure() } == 0)
    #expect(await Self.run(["--nope"]) { _ in throw Failure() } == 2)
  }
}
