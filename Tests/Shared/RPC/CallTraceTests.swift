import RPC
import Testing

@Suite("Names of calls")
struct CallTraceTests {
  private static func parsed(_ text: String) -> CallTrace? {
    Array(text.utf8).withUnsafeBytes { CallTrace(traceparent: $0) }
  }

  @Test("A traceparent of version 00 is taken and written again as it was")
  func valid() {
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    let trace = Self.parsed(text)
    #expect(trace?.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
    #expect(trace?.span == 0x00f0_67aa_0ba9_02b7)
    #expect(trace?.flags == 1)
    #expect(trace?.traceparent == text)
  }

  @Test(
    "Any other traceparent begins a new chain",
    arguments: [
      "", "00", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
      "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
      "00-4bf92f3577b34da6a3ce929d0e0e473x-00f067aa0ba902b7-01",
      "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ])
  func invalid(text: String) { #expect(Self.parsed(text) == nil) }

  @Test(
    "A request id is 1-128 characters that any log can hold",
    arguments: [
      ("a", true), ("req-2026.11.28/7:x+y=z@h", true), (String(repeating: "x", count: 128), true),
      ("", false), (String(repeating: "x", count: 129), false), ("a b", false), ("a\nb", false),
      ("a\"b", false), ("a'b", false), ("a\\b", false), ("a\u{1b}[31m", false), ("é", false),
    ])
  func requestID(text: String, isValid: Bool) {
    #expect(RequestID.isValid(Array(text.utf8)) == isValid)
  }

  private static let method = MethodDescriptor(
    service: "s", method: "m", kind: .unary, access: .open)
  private static let principal = Principal(tokenID: "t", appID: nil, scopes: [])

  private static func context(_ entries: [(String, String)]) -> CallContext {
    var metadata = Metadata()
    for (name, value) in entries { metadata.add(name, value) }
    return CallContext(method: method, principal: principal, metadata: metadata)
  }

  @Test("A call keeps the caller's names, has a span of its own, and passes both on")
  func carryOn() {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    let context = Self.context([("x-request-id", "mine"), ("traceparent", trace)])
    #expect(context.requestID == "mine")
    #expect(context.trace.traceID == "4bf92f3577b34da6a3ce929d0e0e4736")
    #expect(context.trace.span != 0x00f0_67aa_0ba9_02b7)
    #expect(context.trace == context.trace)
    var metadata = Metadata()
    metadata.carryOn(context)
    #expect(metadata["x-request-id"] == "mine")
    #expect(metadata["traceparent"] == context.trace.traceparent)
    metadata.carryOn(Self.context([("x-request-id", "other")]))
    #expect(metadata.values("x-request-id").count == 1)
  }

  @Test("Without names of the caller a call gets its own, always the same, and no two the same")
  func made() {
    let contexts = (0..<1_000).map { _ in Self.context([("x-request-id", "not valid")]) }
    #expect(contexts.allSatisfy { RequestID.isValid(Array($0.requestID.utf8)) })
    #expect(contexts.allSatisfy { $0.requestID == $0.requestID })
    #expect(Set(contexts.map(\.requestID)).count == 1_000)
    #expect(Set(contexts.map(\.trace.traceID)).count == 1_000)
  }
}
