import HTTP2
import RPC
import Synchronization
import Testing

/// A loop without I/O: everything runs at once, on the thread of the test.
// @unchecked: one thread only.
private final class InlineDriver: ConnectionDriver, TaskExecutor, @unchecked Sendable {
  var isOnLoop: Bool { true }
  var loopIdentity: ObjectIdentifier { ObjectIdentifier(self) }
  var taskExecutor: any TaskExecutor { self }
  var backgroundExecutor: any TaskExecutor { self }
  func execute(_ work: @escaping @Sendable () -> Void) { work() }
  func schedule(afterNanoseconds: Int64, _ work: @escaping @Sendable () -> Void) {}
  func flush() {}
  func close() {}

  func enqueue(_ job: consuming ExecutorJob) {
    UnownedJob(job).runSynchronously(on: asUnownedTaskExecutor())
  }
}

private struct Observer: ServerObserver {
  func handlerFailed(_ method: MethodDescriptor, _ error: any Error, requestID: String) {}
  func callEnded(_ record: CallRecord) {}
  func connectionEnded(_ peer: String, _ end: ConnectionEnd, detail: String) {}
}

private struct Echo: ServiceHandlers {
  static let serviceName = "a.B"
  var methodHandlers: [MethodHandler] {
    [
      MethodHandler(
        MethodDescriptor(service: "a.B", method: "C", kind: .bidirectional, access: .open),
        .streaming { requests, responses, _ in
          for try await message in requests { try await responses.send(message) }
        })
    ]
  }
}

/// What a read brings together is handled together.
@Suite struct StreamBatchTests {
  private let server: ServerConnection
  private let client: HTTP2Connection

  init() throws {
    var limits = ServerLimits()
    limits.unsentBytesMax = 1_000
    server = try ServerConnection(
      core: ServerCore(
        router: Router([Echo()]), limits: limits, authorizer: OpenAuthorizer(),
        observer: Observer()),
      driver: InlineDriver(), peer: "test", memory: SessionMemory())
    client = try HTTP2Connection(role: .client, memory: SessionMemory())
  }

  private func begin() throws -> StreamPointer {
    try #require(
      client.request([
        HeaderField(":method", "POST"), HeaderField(":scheme", "http"),
        HeaderField(":path", "/a.B/C"), HeaderField(":authority", "x"),
        HeaderField("content-type", "application/grpc"), HeaderField("te", "trailers"),
      ]))
  }

  /// Carries what the client sends to the server in one read, and all that comes of it back; how many DATA frames came.
  private func exchange() throws -> Int {
    var bytes: [UInt8] = []
    while let output = client.nextOutput() { bytes += output }
    try bytes.withUnsafeBytes { try server.receive($0) }
    var answers: [UInt8] = []
    while let output = server.http2.nextOutput() {
      answers += output
      server.processEvents()
    }
    try answers.withUnsafeBytes { try client.receive($0) }
    while let event = client.nextEvent() { event.stream?.dataHandled() }
    return Self.dataFrames(answers)
  }

  private static func dataFrames(_ bytes: [UInt8]) -> Int {
    var (count, at) = (0, 0)
    while at + 9 <= bytes.count {
      if bytes[at + 3] == 0 { count += 1 }
      at += 9 + bytes[at..<(at + 3)].reduce(0) { $0 << 8 | Int($1) }
    }
    return count
  }

  @Test func `the answers to the messages of one read leave in one frame, in order`() throws {
    let stream = try begin()
    _ = try exchange()
    for number in 0..<100 { [UInt8(number)].withUnsafeBytes { stream.writeMessage($0) } }
    client.resume(stream)
    #expect(try exchange() == 1)
    #expect(Array(stream.unread) == (0..<100).flatMap { [0, 0, 0, 0, 1, UInt8($0)] })
  }

  @Test func `a handler that has sent its bound goes on as its answers leave`() throws {
    let stream = try begin()
    let message = [UInt8](repeating: 7, count: 300)
    for _ in 0..<20 { message.withUnsafeBytes { stream.writeMessage($0) } }
    client.endBody(stream)
    #expect(try exchange() > 1)
    #expect(stream.unread.count == 20 * 305)
    #expect(stream.pointee.flags.contains(.remoteEnded))
  }
}

/// What refusals cost where they are many.
@Suite struct RefusalBytesTests {
  @Test func `the names of refused calls do not push what all refusals say out of the header compression`() throws {
    let server = try ServerConnection(
      core: ServerCore(
        router: Router([Echo()]), limits: ServerLimits(), authorizer: OpenAuthorizer(), observer: Observer()),
      driver: InlineDriver(), peer: "test", memory: SessionMemory())
    let client = try HTTP2Connection(role: .client, memory: SessionMemory())
    var sizes: [Int] = []
    for _ in 0..<200 {
      let stream = try #require(
        client.request([
          HeaderField(":method", "POST"), HeaderField(":scheme", "http"),
          HeaderField(":path", "/a.B/D"), HeaderField(":authority", "x"),
          HeaderField("content-type", "application/grpc"), HeaderField("te", "trailers"),
        ]))
      client.endBody(stream)
      while let output = client.nextOutput() { try server.receive(output) }
      var size = 0
      while let output = server.http2.nextOutput() {
        size += output.count
        try client.receive(output)
        server.processEvents()
      }
      while client.nextEvent() != nil {}
      client.release(stream)
      sizes.append(size)
    }
    // The first one tells all of it; the others their own name only.
    #expect(sizes.dropFirst().allSatisfy { $0 < 70 }, "\(sizes)")
  }
}

/// Reads nothing until it is let, then answers how many messages came.
private final class SlowReader: ServiceHandlers {
  static let serviceName = "a.B"
  private let waiting = Mutex<CheckedContinuation<Void, Never>?>(nil)

  func letRead() { waiting.withLock { $0.take() }?.resume() }

  var methodHandlers: [MethodHandler] {
    [
      MethodHandler(
        MethodDescriptor(service: "a.B", method: "C", kind: .bidirectional, access: .open),
        .streaming { requests, responses, _ in
          await withCheckedContinuation { continuation in self.waiting.withLock { $0 = continuation } }
          var count: UInt8 = 0
          for try await _ in requests { count += 1 }
          try await responses.send([count])
        })
    ]
  }
}

/// What a peer may send to one that does not read.
@Suite struct StreamWindowTests {
  @Test func `messages that come piece by piece do not open the window for those that nobody has read`() throws {
    let reader = SlowReader()
    var limits = ServerLimits()
    limits.http2.streamWindowBytes = 256 * 1024
    let server = try ServerConnection(
      core: ServerCore(
        router: Router([reader]), limits: limits, authorizer: OpenAuthorizer(),
        observer: Observer()),
      driver: InlineDriver(), peer: "test", memory: SessionMemory())
    let client = try HTTP2Connection(role: .client, memory: SessionMemory())
    let stream = try #require(
      client.request([
        HeaderField(":method", "POST"), HeaderField(":scheme", "http"),
        HeaderField(":path", "/a.B/C"), HeaderField(":authority", "x"),
        HeaderField("content-type", "application/grpc"), HeaderField("te", "trailers"),
      ]))
    // Some of them larger than the window.
    let sizes = (0..<40).map { $0 % 10 == 3 ? 600_000 : 100_000 }
    for size in sizes {
      [UInt8](repeating: 7, count: size).withUnsafeBytes { stream.writeMessage($0) }
    }
    client.endBody(stream)

    var sent = 0
    func carry() throws {
      var hasMore = true
      while hasMore {
        hasMore = false
        while let output = client.nextOutput() {
          hasMore = true
          sent += output.count
          let bytes = Array(output)
          for start in stride(from: 0, to: bytes.count, by: 10_000) {
            try bytes[start..<min(start + 10_000, bytes.count)].withUnsafeBytes {
              try server.receive($0)
            }
          }
        }
        while let output = server.http2.nextOutput() {
          hasMore = true
          server.processEvents()
          try Array(output).withUnsafeBytes { try client.receive($0) }
        }
        while let event = client.nextEvent() { event.stream?.dataHandled() }
      }
    }
    try carry()
    // The connection's first window, and what had come of the first message before it was whole.
    #expect((160_000..<200_000).contains(sent))
    reader.letRead()
    try carry()
    #expect(sent > sizes.reduce(0, +))
    #expect(Array(stream.unread) == [0, 0, 0, 0, 1, 40])
  }
}
