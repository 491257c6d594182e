import Foundation
import HTTP2
import Testing

/// A client by hand: says exactly what a test wants, right or wrong, over one TCP connection. Blocking.
final class RawClient {
  struct Answer {
    var fields: [String: String] = [:]
    var body: [UInt8] = []
    /// RST_STREAM or plain end: the stream's last code. nil: it has not ended.
    var code: UInt32?
    var status: Int? { fields["grpc-status"].flatMap(Int.init) }
    /// The one message of the body, without its prefix.
    var message: [UInt8] { Array(body.dropFirst(5)) }
  }

  let http2: HTTP2Connection
  private let descriptor: Int32
  private(set) var isClosed = false
  /// Code of a GOAWAY that has come.
  private(set) var goAway: UInt32?
  private var answers: [StreamPointer: Answer] = [:]

  /// Whether the window of a stream opens again by what has come on it.
  var takesMessages = true

  init(port: Int) throws {
    http2 = try HTTP2Connection(role: .client, memory: SessionMemory())
    descriptor = try Self.connect(port)
  }

  deinit { close(descriptor) }

  static func connect(_ port: Int) throws -> Int32 {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = UInt16(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    try #require(result == 0, "no connection to port \(port)")
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    return descriptor
  }

  static func fields(_ path: String, _ more: [HeaderField] = []) -> [HeaderField] {
    [
      HeaderField(":method", "POST"), HeaderField(":scheme", "http"), HeaderField(":path", path),
      HeaderField(":authority", "test"), HeaderField("content-type", "application/grpc"),
      HeaderField("te", "trailers"),
    ] + more
  }

  /// A message with its prefix.
  static func framed(_ message: [UInt8], flag: UInt8 = 0, length: Int? = nil) -> [UInt8] {
    let count = UInt32(length ?? message.count)
    return [flag] + withUnsafeBytes(of: count.bigEndian) { Array($0) } + message
  }

  /// Begins a request; `end`: with its half-close.
  func begin(_ fields: [HeaderField], _ body: [UInt8], end: Bool = true) throws -> StreamPointer {
    let stream = try #require(http2.request(fields))
    answers[stream] = Answer()
    body.withUnsafeBytes { stream.write($0) }
    if end { http2.endBody(stream) } else { http2.resume(stream) }
    try flush()
    return stream
  }

  /// A whole call.
  func call(
    _ path: String, _ more: [HeaderField] = [], body: [UInt8], end: Bool = true
  ) throws -> Answer {
    try wait(for: begin(Self.fields(path, more), body, end: end))
  }

  func flush() throws {
    while let bytes = http2.nextOutput() { send(Array(bytes)) }
  }

  func send(_ bytes: [UInt8]) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes[sent...].withUnsafeBytes {
        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else {
        isClosed = true
        return
      }
      sent += count
    }
  }

  /// Until a stream has ended or the connection is closed; fails after 10 s.
  func wait(for stream: StreamPointer) throws -> Answer {
    try pump { self.answers[stream]?.code != nil }
    return try #require(answers[stream])
  }

  func answer(of stream: StreamPointer) -> Answer? { answers[stream] }

  func waitUntilClosed() throws { try pump { false } }

  func pump(until condition: () -> Bool) throws {
    let end = Date().addingTimeInterval(10)
    while !isClosed, !condition() {
      try #require(Date() < end, "nothing came within 10 s")
      try flush()
      // What is sent may end a stream.
      handleEvents()
      if condition() { return }
      guard readable(within: 100) else { continue }
      var buffer = [UInt8](repeating: 0, count: 65_536)
      let count = recv(descriptor, &buffer, buffer.count, 0)
      guard count > 0 else {
        isClosed = true
        break
      }
      try buffer[..<count].withUnsafeBytes { try http2.receive($0) }
      handleEvents()
      try flush()
    }
  }

  private func readable(within milliseconds: Int32) -> Bool {
    var one = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&one, 1, milliseconds) > 0
  }

  private func handleEvents() {
    while let event = http2.nextEvent() {
      switch event.kind {
      case .headers: if let stream = event.stream { take(stream, event.block) }
      case .data:
        if let stream = event.stream {
          stream.dataHandled()
          guard takesMessages else { break }
          answers[stream]?.body += Array(stream.unread)
          stream.skip(stream.unread.count)
          http2.consumeAll(stream)
        }
      case .closed: if let stream = event.stream { answers[stream]?.code = event.code }
      case .goAway: goAway = event.code
      default: break
      }
    }
  }

  private func take(_ stream: StreamPointer, _ block: HeaderBlock) {
    stream.forEachHeader(in: block) { name, custom, value in
      let label =
        switch name {
        case .status: ":status"
        case .contentType: "content-type"
        case .grpcStatus: "grpc-status"
        case .grpcMessage: "grpc-message"
        case .grpcEncoding: "grpc-encoding"
        case .grpcAcceptEncoding: "grpc-accept-encoding"
        case .grpcStatusDetails: "grpc-status-details-bin"
        default: String(decoding: custom, as: UTF8.self)
        }
      answers[stream]?.fields[label] = String(decoding: value, as: UTF8.self)
    }
  }
}
