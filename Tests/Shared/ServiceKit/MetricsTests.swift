import Foundation
import ServiceKit
import Testing

@Suite("Metrics")
struct MetricsTests {
  /// Sends bytes and reads until the server closes.
  private static func exchange(port: Int, _ request: String) throws -> String {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(port).bigEndian)
    address.sin_addr.s_addr = in_addr_t(UInt32(0x7F00_0001).bigEndian)
    let connected = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(connected == 0)
    let bytes = Array(request.utf8)
    #expect(send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    var answer: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      answer += buffer[..<count]
    }
    return String(decoding: answer, as: UTF8.self)
  }

  private static func withServer(_ body: (Int) throws -> Void) async throws {
    let registry = MetricsRegistry()
    registry.gauge("test_gauge", help: "A gauge.", labels: [("app", "a\"b\\c\nd")]) { 1.5 }
    registry.counter("test_total", help: "A counter.") { 3 }
    registry.summary("test_seconds", help: "A summary.", labels: [("a", "b")]) { (sum: 0.25, count: 2) }
    let server = MetricsServer { registry.text() }
    let port = try await server.start(host: "127.0.0.1", port: 0)
    let result = Result { try body(port) }
    await server.stop()
    try result.get()
  }

  @Test("GET /metrics answers Prometheus' text and closes")
  func get() async throws {
    try await Self.withServer { port in
      let answer = try Self.exchange(port: port, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
      #expect(answer.hasPrefix("HTTP/1.1 200 OK\r\n"))
      #expect(answer.contains("# TYPE test_gauge gauge\ntest_gauge{app=\"a\\\"b\\\\c\\nd\"} 1.5\n"))
      #expect(answer.contains("# HELP test_total A counter.\n# TYPE test_total counter\ntest_total 3\n"))
      let summary = "test_seconds_sum{a=\"b\"} 0.25\ntest_seconds_count{a=\"b\"} 2\n"
      #expect(answer.contains("# TYPE test_seconds summary\n" + summary))
    }
  }

  @Test("Anything else is refused", arguments: [
    ("GET / HTTP/1.1\r\n\r\n", "404"), ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
    ("nonsense\r\n\r\n", "400"), ("GET /metrics HTTP/2\r\n\r\n", "400"),
    ("GET /metrics HTTP/1.1\r\nX: " + String(repeating: "x", count: 9_000), "431"),
  ])
  func refused(request: String, status: String) async throws {
    try await Self.withServer { port in
      let answer = try Self.exchange(port: port, request)
      #expect(answer.hasPrefix("HTTP/1.1 \(status) "))
    }
  }
}
