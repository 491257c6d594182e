import CNghttp2
import HTTP2
import TestKit
import Testing

private struct Field: CustomStringConvertible {
  var name: [UInt8]
  var value: [UInt8]

  init(_ name: String, _ value: String) { (self.name, self.value) = (Array(name.utf8), Array(value.utf8)) }

  /// A literal that enters no dynamic table (RFC 7541, 6.2.2).
  var encoded: [UInt8] { [0] + Self.text(name) + Self.text(value) }

  private static func text(_ bytes: [UInt8]) -> [UInt8] {
    guard bytes.count >= 127 else { return [UInt8(bytes.count)] + bytes }
    precondition(bytes.count < 255, "one byte of length behind the prefix")
    return [127, UInt8(bytes.count - 127)] + bytes
  }

  var description: String { "\(Self.printed(name)): \(Self.printed(value))" }

  private static func printed(_ bytes: [UInt8]) -> String {
    bytes.map { (33...126).contains($0) ? String(UnicodeScalar($0)) : "<\($0)>" }.joined()
  }
}

/// One request as a client may send it.
private struct Request {
  var fields: [Field]
  var body: [Int] = []
  var trailers: [Field]?
  /// Whether the trailers end the stream.
  var ends = true

  var bytes: [UInt8] {
    let isAlone = body.isEmpty && trailers == nil
    var all = Self.frame(1, isAlone ? 5 : 4, fields.flatMap(\.encoded))
    for (index, count) in body.enumerated() {
      let isLast = trailers == nil && index == body.count - 1
      all += Self.frame(0, isLast ? 1 : 0, [UInt8](repeating: 7, count: count))
    }
    if let trailers { all += Self.frame(1, ends ? 5 : 4, trailers.flatMap(\.encoded)) }
    return all
  }

  static func frame(_ kind: UInt8, _ flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
    [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), kind, flags, 0, 0, 0, 1] + payload
  }
}

/// What became of a request.
private struct Outcome: Equatable, CustomStringConvertible {
  /// Code of the RST_STREAM that it was answered with; nil: none.
  var reset: UInt32?
  /// Values of the fields of its first block; nil: no request was reported.
  var values: [[UInt8]]?
  /// Whether the whole request was reported as ended.
  var ended = false

  var description: String { "reset \(reset.map { "\($0)" } ?? "-"), \(values?.count ?? -1) fields, ended \(ended)" }

  /// Looks for a reset in what a server has sent.
  mutating func look(at sent: [UInt8]) {
    var rest = sent[...]
    while rest.count >= 9 {
      let head = Array(rest.prefix(9))
      let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
      let payload = rest.dropFirst(9).prefix(length)
      if head[3] == 3 { reset = payload.reduce(0) { $0 << 8 | UInt32($1) } }
      rest = rest.dropFirst(9 + length)
    }
  }
}

private let hello =
  Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8) + [0, 0, 0, 4, 0, 0, 0, 0, 0] + [0, 0, 0, 4, 1, 0, 0, 0, 0]

/// What our server makes of it.
private func ours(_ request: Request) throws -> Outcome {
  let server = try HTTP2Connection(role: .server, memory: SessionMemory())
  for piece in [hello, request.bytes] { try piece.withUnsafeBytes { try server.receive($0) } }
  var outcome = Outcome()
  while let event = server.nextEvent() {
    guard let stream = event.stream else { continue }
    if event.kind == .headers, outcome.values == nil {
      var values: [[UInt8]] = []
      stream.forEachHeader(in: stream.pointee.firstBlock) { _, _, value in values.append(Array(value)) }
      outcome.values = values
    }
    if stream.pointee.flags.contains(.remoteEnded) { outcome.ended = true }
  }
  var sent: [UInt8] = []
  while let bytes = server.nextOutput() { sent += bytes }
  outcome.look(at: sent)
  return outcome
}

/// What a server reports that is nghttp2 alone, with its own checks of requests.
private final class Reference {
  /// Of the fields of each request, by stream.
  private(set) var values: [Int32: [[UInt8]]] = [:]
  private(set) var ended: Set<Int32> = []
  private(set) var sent: [UInt8] = []
  private var open: [Int32: [[UInt8]]] = [:]

  private static func of(_ user: UnsafeMutableRawPointer?) -> Reference {
    Unmanaged<Reference>.fromOpaque(user.unsafelyUnwrapped).takeUnretainedValue()
  }

  /// Takes in the pieces of one connection, its preface excepted.
  init(_ pieces: [[UInt8]]) {
    var callbacks: OpaquePointer?
    nghttp2_session_callbacks_new(&callbacks)
    defer { nghttp2_session_callbacks_del(callbacks) }
    nghttp2_session_callbacks_set_on_header_callback(callbacks) { _, frame, _, _, value, count, _, user in
      guard let headers = frame?.pointee.headers, headers.cat == NGHTTP2_HCAT_REQUEST else { return 0 }
      let bytes = Array(UnsafeBufferPointer(start: value, count: count))
      Reference.of(user).open[headers.hd.stream_id, default: []].append(bytes)
      return 0
    }
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks) { _, frame, user in
      guard let header = frame?.pointee.hd, header.type <= 1 else { return 0 }
      let all = Reference.of(user)
      if header.type == 1 { all.values[header.stream_id] = all.open[header.stream_id] }
      if header.flags & 1 != 0 { all.ended.insert(header.stream_id) }
      return 0
    }
    var options: OpaquePointer?
    nghttp2_option_new(&options)
    defer { nghttp2_option_del(options) }
    nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(options, 1)
    var session: OpaquePointer?
    nghttp2_session_server_new2(&session, callbacks, Unmanaged.passUnretained(self).toOpaque(), options)
    defer { nghttp2_session_del(session) }
    nghttp2_submit_settings(session, 0, nil, 0)
    for piece in [hello] + pieces {
      let count = nghttp2_session_mem_recv(session, piece, piece.count)
      precondition(count == piece.count, "nghttp2 gave up with \(count)")
      var data: UnsafePointer<UInt8>?
      while case let count = nghttp2_session_mem_send(session, &data), count > 0 {
        sent += UnsafeBufferPointer(start: data, count: count)
      }
    }
  }
}

/// What nghttp2's own checks make of it.
private func theirs(_ request: Request) -> Outcome {
  let reference = Reference([request.bytes])
  var outcome = Outcome(values: reference.values[1], ended: reference.ended.contains(1))
  outcome.look(at: reference.sent)
  return outcome
}

/// Requests that are well-formed or, mostly, all but.
private struct RequestMaker {
  var random: SeededRandom

  private static let pseudo = [
    (":method", ["POST", "POST", "GET", "HEAD", "OPTIONS", "CONNECT", "PO ST", "", "post", "P\u{1}", "PÖ"]),
    (":scheme", ["http", "https", "ftp", "", "HTTP", "hTTps", "httpx", "h+t.t-p", "1http", "htt:"]),
    (":path", ["/a.B/C", "/", "*", "", "a", "/a b", "/a\u{7f}", "/ä", "/a.B/C?x=%20"]),
    (":authority", ["x", "localhost:80", "[::1]:80", "", "a b", "user@h", "ä", "a/b", "x\t"]),
    (":status", ["200"]), (":protocol", ["websocket"]), (":unknown", ["x"]), (":Path", ["/"]), (":", ["x"]),
  ]
  private static let regular = [
    ("content-type", ["application/grpc", "application/grpc+proto", "x\ty", "a\u{1}b", ""]),
    ("te", ["trailers", "Trailers", "TRAILERS", "gzip", "", "trailers ", "trailer\u{13}"]),
    ("user-agent", ["grpc-c/1.0", String(repeating: "u", count: 40), "\u{1f}" + String(repeating: "u", count: 30)]),
    ("content-length", ["0", "3", "10", "007", "-1", "", "x", "9223372036854775807", "9223372036854775808", "3 "]),
    ("host", ["x", "", "a b", "ä"]), ("connection", ["close", "a\u{0}"]), ("keep-alive", ["1"]), ("upgrade", ["h2c"]),
    ("proxy-connection", ["x"]), ("transfer-encoding", ["chunked", "\u{7f}"]), ("x-custom", ["y", "ü", "\u{8}", " y "]),
    ("X-Custom", ["y"]), ("x custom", ["y"]), ("", ["y"]), ("x\u{1}", ["y"]), ("ä", ["y"]), ("x-\u{7f}", ["z"]),
    ("authorization", ["Bearer ff_abc_0123456789012345678901234567890123456789012", "Bearer "]),
    ("grpc-timeout", ["1S"]), ("grpc-status", ["0"]), ("priority", ["u=1", "u=9"]), ("!#$%&'*+-.^_`|~0", ["x"]),
  ]

  private mutating func field(_ table: [(String, [String])]) -> Field {
    let (name, values) = table[Int.random(in: 0..<table.count, using: &random)]
    return Field(name, values[Int.random(in: 0..<values.count, using: &random)])
  }

  private mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &random) < percent }

  mutating func next() -> Request {
    var fields = [
      Field(":method", "POST"), Field(":scheme", "http"), Field(":path", "/a.B/C"), Field(":authority", "x"),
      Field("content-type", "application/grpc"), Field("te", "trailers"),
    ]
    for _ in 0..<Int.random(in: 0...3, using: &random) { change(&fields) }
    var request = Request(fields: fields)
    if chance(60) {
      request.body = (0..<Int.random(in: 1...3, using: &random)).map { _ in
        [0, 1, 2, 3, 5, 10].randomElement(using: &random) ?? 0
      }
    }
    if chance(20) {
      request.trailers = (0..<Int.random(in: 1...2, using: &random)).map { _ in
        field(chance(80) ? Self.regular : Self.pseudo)
      }
      request.ends = chance(80)
    }
    return request
  }

  var usual: [Field] {
    [
      Field(":method", "POST"), Field(":scheme", "http"), Field(":path", "/a.B/C"), Field(":authority", "x"),
      Field("content-type", "application/grpc"), Field("te", "trailers"), Field("grpc-timeout", "1S"), Field("x-custom", "y"),
    ]
  }

  var isCut: Bool { mutating get { chance(10) } }

  /// The next request of a connection: mostly the same again.
  mutating func changeNow(_ fields: inout [Field]) {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<65: return
    case 65..<85: fields = usual
    case 85..<90: fields.removeLast(min(fields.count - 1, Int.random(in: 1...3, using: &random)))
    case 90..<94: fields.append(Field("x-more", "\(Int.random(in: 0..<4, using: &random))"))
    case 94..<97: fields = (0..<24).map { Field("x-\($0)", "y") }.reduce(usual) { $0 + [$1] }
    default: change(&fields)
    }
  }

  private mutating func change(_ fields: inout [Field]) {
    let index = Int.random(in: 0..<fields.count, using: &random)
    switch Int.random(in: 0..<7, using: &random) {
    case 0 where fields.count > 1: fields.remove(at: index)
    case 1: fields.append(field(Self.regular))
    case 2: fields.insert(field(Self.regular), at: index)
    case 3: fields.insert(field(Self.pseudo), at: min(index, 4))
    case 4: fields.swapAt(index, Int.random(in: 0..<fields.count, using: &random))
    case 5:
      // Another value for a field that it has.
      let name = String(decoding: fields[index].name, as: UTF8.self)
      if let values = (Self.pseudo + Self.regular).first(where: { $0.0 == name })?.1 {
        fields[index] = Field(name, values[Int.random(in: 0..<values.count, using: &random)])
      }
    default:
      // One byte of one that it has.
      var changed = fields[index]
      let byte = UInt8.random(in: 0...255, using: &random)
      if chance(50), !changed.name.isEmpty {
        changed.name[Int.random(in: 0..<changed.name.count, using: &random)] = byte
      } else if !changed.value.isEmpty {
        changed.value[Int.random(in: 0..<changed.value.count, using: &random)] = byte
      }
      fields[index] = changed
    }
  }
}

/// Encodes requests of one connection as clients do: what came before is sent as a reference.
private final class Encoder {
  private var deflater: OpaquePointer?
  private var stream: UInt32 = 0

  init() { nghttp2_hd_deflate_new(&deflater, 4_096) }
  deinit { nghttp2_hd_deflate_del(deflater) }

  /// A HEADERS frame that ends its stream, cut in two by CONTINUATION where `isCut`.
  func request(_ fields: [Field], isCut: Bool) -> [UInt8] {
    stream += stream == 0 ? 1 : 2
    var block = [UInt8](repeating: 0, count: 8_192)
    let flat = fields.flatMap { $0.name + $0.value }
    let count = flat.withUnsafeBufferPointer { bytes -> Int in
      var position = 0
      var all: [nghttp2_nv] = []
      for field in fields {
        let name = UnsafeMutablePointer(mutating: bytes.baseAddress.unsafelyUnwrapped + position)
        all.append(
          nghttp2_nv(
            name: name, value: name + field.name.count, namelen: field.name.count, valuelen: field.value.count, flags: 0))
        position += field.name.count + field.value.count
      }
      return nghttp2_hd_deflate_hd(deflater, &block, block.count, all, all.count)
    }
    precondition(count >= 0, "the fields were not encoded: \(count)")
    let middle = isCut ? count / 2 : count
    let first = frame(1, isCut ? 1 : 5, Array(block[..<middle]))
    return isCut ? first + frame(9, 4, Array(block[middle..<count])) : first
  }

  private func frame(_ kind: UInt8, _ flags: UInt8, _ payload: [UInt8]) -> [UInt8] {
    [0, UInt8(payload.count >> 8), UInt8(payload.count & 255), kind, flags]
      + withUnsafeBytes(of: stream.bigEndian) { Array($0) } + payload
  }
}

/// Values of the fields of each request that a server reported, by stream, and which ones it reset.
private struct Session: Equatable {
  var values: [Int32: [[UInt8]]] = [:]
  var resets: Set<Int32> = []

  mutating func look(at sent: [UInt8]) {
    var rest = sent[...]
    while rest.count >= 9 {
      let head = Array(rest.prefix(9))
      let length = Int(head[0]) << 16 | Int(head[1]) << 8 | Int(head[2])
      if head[3] == 3 { resets.insert(head[5...].reduce(0) { $0 << 8 | Int32($1) }) }
      rest = rest.dropFirst(9 + length)
    }
  }
}

/// What nghttp2's own checks make of the requests of one connection.
private func theirs(_ frames: [[UInt8]]) -> Session {
  let reference = Reference(frames)
  var session = Session(values: reference.values)
  session.look(at: reference.sent)
  return session
}

@Suite struct RequestFieldsTests {
  @Test func `fields that come again are judged and kept as the first time`() throws {
    let seed = UInt64.random(in: 1...UInt64(Int64.max))
    print("seed of the connections: \(seed)")
    var maker = RequestMaker(random: SeededRandom(seed: seed))
    var (known, all, resets) = (0, 0, 0)
    for _ in 0..<400 {
      let encoder = Encoder()
      let server = try HTTP2Connection(role: .server, memory: SessionMemory())
      var mine = Session()
      var sent: [UInt8] = []
      var byGeneration: [Int: [[UInt8]]] = [:]
      var frames: [[UInt8]] = []
      var fields = maker.usual
      for _ in 0..<50 {
        maker.changeNow(&fields)
        frames.append(encoder.request(fields, isCut: maker.isCut))
      }
      for piece in [hello] + frames {
        try piece.withUnsafeBytes { try server.receive($0) }
        while let event = server.nextEvent() {
          guard event.kind == .headers, let stream = event.stream else { continue }
          var values: [[UInt8]] = []
          stream.forEachHeader(in: stream.pointee.firstBlock) { _, _, value in values.append(Array(value)) }
          mine.values[stream.pointee.id] = values
          let generation = stream.pointee.fieldsGeneration
          all += 1
          guard generation != 0 else { continue }
          known += 1
          #expect(byGeneration[generation, default: values] == values, "seed \(seed): generation \(generation)")
          byGeneration[generation] = values
        }
        while let bytes = server.nextOutput() { sent += bytes }
      }
      mine.look(at: sent)
      #expect(mine == theirs(frames), "seed \(seed)")
      resets += mine.resets.count
    }
    // The test is worth something only while the requests are of all kinds.
    #expect(known > all / 5 && known < all * 4 / 5 && resets > 200, "\(known) known of \(all), \(resets) reset")
  }

  @Test func `requests are judged as nghttp2 judges them`() throws {
    let seed = UInt64.random(in: 1...UInt64(Int64.max))
    print("seed of the requests: \(seed)")
    var maker = RequestMaker(random: SeededRandom(seed: seed))
    var (kept, reset, late) = (0, 0, 0)
    for _ in 0..<100_000 {
      let request = maker.next()
      let (mine, reference) = (try ours(request), theirs(request))
      #expect(mine == reference, "seed \(seed): \(request): \(mine), nghttp2: \(reference)")
      if mine.reset == nil { kept += 1 } else { reset += 1 }
      if mine.reset != nil, mine.values != nil { late += 1 }
    }
    // The test is worth something only while the requests are of all kinds.
    #expect(kept > 10_000 && reset > 10_000 && late > 1_000, "\(kept) kept, \(reset) reset, \(late) of them behind their first block")
  }

  @Test func `every byte is judged as nghttp2 judges it, wherever it stands`() throws {
    let fields = [
      Field(":method", "POST"), Field(":scheme", "http"), Field(":path", "/a.B/C"), Field(":authority", "localhost:80"),
      Field("content-type", "application/grpc"), Field("x-custom", "0123456789012345678"), Field("host", "localhost:80"),
    ]
    for (index, field) in fields.enumerated() {
      for byte in UInt8.min...UInt8.max {
        for position in 0..<field.value.count {
          var changed = fields
          changed[index].value[position] = byte
          try compare(Request(fields: changed))
        }
        for position in 0..<field.name.count {
          var changed = fields
          changed[index].name[position] = byte
          try compare(Request(fields: changed))
        }
      }
    }
  }

  private func compare(_ request: Request) throws {
    let (mine, reference) = (try ours(request), theirs(request))
    #expect(mine == reference, "\(request): \(mine), nghttp2: \(reference)")
  }
}
