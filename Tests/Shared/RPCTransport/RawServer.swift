import Foundation
import Glibc
import HTTP2
import RPC
import Synchronization

/// A server made of raw frames, which does what no real one would. One thread per connection runs a script.
final class RawServer: Sendable {
  let port: Int
  private let listener: Int32
  private let accepted = Mutex<[Int32]>([])

  var connections: Int { accepted.withLock { $0.count } }

  /// - Parameter script: given the connection and its number, from 0, after the client's preface. Its end closes the connection.
  init(_ script: @escaping @Sendable (RawPeer, Int) -> Void) throws {
    listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = listener
    let code = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { generic in
        bind(descriptor, generic, length) == 0 && listen(descriptor, 16) == 0
          ? getsockname(descriptor, generic, &length) : -1
      }
    }
    precondition(code == 0, "a raw server cannot listen")
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread.detachNewThread { [self] in acceptAll(script) }
  }

  private func acceptAll(_ script: @escaping @Sendable (RawPeer, Int) -> Void) {
    while true {
      let connection = accept(listener, nil, nil)
      if connection < 0 { return }
      let number = accepted.withLock { all in
        all.append(connection)
        return all.count - 1
      }
      Thread.detachNewThread {
        if let peer = RawPeer(connection) { script(peer, number) }
        shutdown(connection, Int32(SHUT_RDWR))
      }
    }
  }

  func close() {
    shutdown(listener, Int32(SHUT_RDWR))
    for connection in accepted.withLock({ $0 }) { shutdown(connection, Int32(SHUT_RDWR)) }
  }
}

/// One connection of a `RawServer`. Blocks; used by its thread alone.
final class RawPeer {
  struct Frame {
    let type: UInt8
    let flags: UInt8
    let stream: Int32
    let payload: [UInt8]

    var endsStream: Bool { (type == 0 || type == 1) && flags & 1 != 0 }
  }

  struct Request {
    var stream: Int32
    var fields: [String: String] = [:]
    /// All of its DATA.
    var body: [UInt8] = []
  }

  private let descriptor: Int32
  /// Reads the header blocks; what it would send is thrown away.
  private let decoder: HTTP2Connection
  private var open: [Int32: Request] = [:]

  /// nil: the client went away before its preface was complete.
  init?(_ descriptor: Int32) {
    self.descriptor = descriptor
    guard let decoder = try? HTTP2Connection(role: .server, memory: SessionMemory()) else { return nil }
    self.decoder = decoder
    guard let preface = read(24) else { return nil }
    feed(preface)
  }

  private func read(_ count: Int) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var filled = 0
    while filled < count {
      let got = bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + filled, count - filled, 0) }
      if got <= 0 { return nil }
      filled += got
    }
    return bytes
  }

  private func feed(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { try? decoder.receive($0) }
    while let event = decoder.nextEvent() {
      guard event.kind == .headers, let stream = event.stream else { continue }
      var request = Request(stream: stream.pointee.id)
      stream.forEachHeader(in: event.block) { known, name, value in
        let label = known == .custom ? String(decoding: name, as: UTF8.self) : "\(known)"
        request.fields[label] = String(decoding: value, as: UTF8.self)
      }
      open[request.stream] = request
    }
    while decoder.nextOutput() != nil {}
  }

  /// nil: the client has closed.
  func nextFrame() -> Frame? {
    guard let head = read(9) else { return nil }
    let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
    guard let payload = length == 0 ? [] : read(length) else { return nil }
    feed(head + payload)
    let stream = head[5...8].reduce(Int32(0)) { $0 << 8 | Int32($1) } & Int32.max
    if head[3] == 0 { open[stream]?.body += payload }
    return Frame(type: head[3], flags: head[4], stream: stream, payload: payload)
  }

  /// The next request that is complete. nil: the client has closed.
  func nextRequest() -> Request? {
    while let frame = nextFrame() {
      if frame.endsStream, let request = open.removeValue(forKey: frame.stream) { return request }
    }
    return nil
  }

  /// The headers of the next request, whether it has ended or not.
  func nextHeaders() -> Request? {
    while let frame = nextFrame() {
      if frame.type == 1, let request = open[frame.stream] { return request }
    }
    return nil
  }

  func send(_ type: UInt8, _ flags: UInt8 = 0, _ stream: Int32 = 0, _ payload: [UInt8] = []) {
    let count = payload.count
    var bytes: [UInt8] = [
      UInt8(count >> 16), UInt8(count >> 8 & 255), UInt8(count & 255), type, flags,
    ]
    withUnsafeBytes(of: stream.bigEndian) { bytes += $0 }
    bytes += payload
    _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
  }

  func settings(_ values: [(UInt16, UInt32)] = []) {
    var payload: [UInt8] = []
    for (id, value) in values {
      withUnsafeBytes(of: id.bigEndian) { payload += $0 }
      withUnsafeBytes(of: value.bigEndian) { payload += $0 }
    }
    send(4, 0, 0, payload)
  }

  /// Fields as literals that are neither indexed nor Huffman-coded (RFC 7541, 6.2.2).
  func headers(_ stream: Int32, _ fields: [(String, String)], end: Bool = false) {
    var block: [UInt8] = []
    for (name, value) in fields {
      block.append(0)
      for text in [name, value] {
        precondition(text.utf8.count < 127, "a longer literal needs a longer length")
        block.append(UInt8(text.utf8.count))
        block += Array(text.utf8)
      }
    }
    send(1, end ? 5 : 4, stream, block)
  }

  func data(_ stream: Int32, _ bytes: [UInt8], end: Bool = false, padding: Int? = nil) {
    guard let padding else { return send(0, end ? 1 : 0, stream, bytes) }
    send(0, (end ? 1 : 0) | 8, stream, [UInt8(padding)] + bytes + [UInt8](repeating: 0, count: padding))
  }

  func reset(_ stream: Int32, _ code: UInt32) {
    send(3, 0, stream, withUnsafeBytes(of: code.bigEndian) { Array($0) })
  }

  func goAway(_ last: Int32, _ code: UInt32, _ text: String = "") {
    var payload: [UInt8] = []
    withUnsafeBytes(of: last.bigEndian) { payload += $0 }
    withUnsafeBytes(of: code.bigEndian) { payload += $0 }
    send(7, 0, 0, payload + Array(text.utf8))
  }

  // MARK: - gRPC

  static let responseHead = [(":status", "200"), ("content-type", "application/grpc")]

  static func message(_ bytes: [UInt8], flag: UInt8 = 0) -> [UInt8] {
    var framed = [flag]
    withUnsafeBytes(of: UInt32(bytes.count).bigEndian) { framed += $0 }
    return framed + bytes
  }

  /// One message and OK.
  func answer(_ stream: Int32, _ bytes: [UInt8]) {
    headers(stream, Self.responseHead)
    data(stream, Self.message(bytes))
    headers(stream, [("grpc-status", "0")], end: true)
  }

  /// A status alone.
  func refuse(_ stream: Int32, _ status: String, _ more: [(String, String)] = []) {
    headers(stream, Self.responseHead + [("grpc-status", status)] + more, end: true)
  }

  /// Until the client closes.
  func waitForClose() { while nextFrame() != nil {} }
}
