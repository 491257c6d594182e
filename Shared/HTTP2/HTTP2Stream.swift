#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// One stream's state in raw memory: nghttp2's callbacks touch it for every frame, and class properties would pay for
/// reference counts and exclusivity checks there (measured: 1.5 us a call against 1.0). Pooled by its event loop.
@usableFromInline
package struct HTTP2Stream {
  package internal(set) var id: Int32 = 0
  @usableFromInline package internal(set) var flags: Flags = []

  // Headers: see `KeptFields`.
  @usableFromInline var headers: UnsafeMutablePointer<UInt8>
  var headerLength = 0
  var headerCapacity: Int
  var headerFields = 0
  /// name + value + 32 of every field (RFC 9113, 6.5.2).
  var headerListBytes = 0
  var blockStart = 0
  /// Of a request.
  var rules = RequestRules()
  /// How many fields of a request's first block were those that are known so far; -1: each is looked at.
  var matchedFields: Int16 = -1
  /// Requests of one connection that say the same here have the same fields, byte for byte; 0: it is not known of this one.
  package internal(set) var fieldsGeneration = 0
  /// The block that opened the stream, of a request; of a response the first one.
  package internal(set) var firstBlock = HeaderBlock()

  // Received body: [bodyOffset, bodyLength) is unread.
  @usableFromInline var body: UnsafeMutablePointer<UInt8>
  @usableFromInline var bodyOffset = 0
  @usableFromInline var bodyLength = 0
  var bodyCapacity: Int
  /// Received bytes that the peer's window has not been given back for.
  var unconsumed = 0

  // Body to send: [outOffset, outLength) waits for the peer's window.
  @usableFromInline var out: UnsafeMutablePointer<UInt8>
  @usableFromInline var outOffset = 0
  @usableFromInline var outLength = 0
  @usableFromInline var outCapacity: Int
  /// Bytes of the body that have been taken so far.
  package internal(set) var sentBytes = 0
  /// The connection's sum of `unsentBytes`.
  @usableFromInline var unsentTotal: UnsafeMutablePointer<Int>

  var nextFree: UnsafeMutablePointer<HTTP2Stream>?
  // Its neighbours among the connection's streams that are given out.
  var previousLive: UnsafeMutablePointer<HTTP2Stream>?
  var nextLive: UnsafeMutablePointer<HTTP2Stream>?

  // The owner's, untouched here but for `reset`.
  package var userHandle: UnsafeMutableRawPointer?
  package var userObject: UnsafeMutableRawPointer?
  package var userPrincipal: UnsafeMutableRawPointer?
  package var userDeadline: Int64 = 0
  package var userStart: Int64 = 0
  package var userState: UInt32 = 0
  package var userFlags: UInt32 = 0
  /// When bytes came last, of a message that is not whole.
  package var userTouched: Int64 = 0
  /// Since when the peer takes the body too slowly, and `sentBytes` at that time; 0: it does not.
  package var userStalledSince: Int64 = 0
  package var userStalledAt = 0
  package var userIndex: Int32 = -1
  package var userRequestBytes = 0
  package var userResponseBytes = 0

  @usableFromInline
  package struct Flags: OptionSet, Sendable {
    @usableFromInline package let rawValue: UInt32
    @inlinable package init(rawValue: UInt32) { self.rawValue = rawValue }

    /// In place of the generic one of `OptionSet`, which is not specialised in other modules.
    @inlinable @inline(__always)
    package func contains(_ flag: Flags) -> Bool { rawValue & flag.rawValue == flag.rawValue }

    /// The peer will send no more.
    @inlinable package static var remoteEnded: Flags { Flags(rawValue: 1) }
    /// nghttp2 has closed the stream: only its memory is left.
    @inlinable package static var closed: Flags { Flags(rawValue: 2) }
    /// A data event waits in the queue.
    @inlinable static var dataQueued: Flags { Flags(rawValue: 4) }
    /// A header block went over a limit: what came after it was not kept.
    @inlinable package static var headersOverflowed: Flags { Flags(rawValue: 8) }
    /// A response or request was begun.
    @inlinable package static var outboundBegun: Flags { Flags(rawValue: 16) }
    /// The application has given all its bytes.
    @inlinable package static var outboundEnded: Flags { Flags(rawValue: 32) }
    /// nghttp2 was told that there is nothing to send for now.
    @inlinable static var deferred: Flags { Flags(rawValue: 64) }
    /// The owner wants to hear when `out` has been taken.
    @inlinable static var wantsDrained: Flags { Flags(rawValue: 128) }
    /// Trailers follow the body: the plain `grpc-status: 0`.
    @inlinable static var okTrailers: Flags { Flags(rawValue: 256) }
    /// The body is followed by trailers that were given to `end`.
    @inlinable static var customTrailers: Flags { Flags(rawValue: 512) }
    /// The first header block has come: the next one holds trailers.
    @inlinable package static var firstBlockSeen: Flags { Flags(rawValue: 1024) }
    /// Answered before the peer has finished, while credit is withheld: the stream is left to be reset.
    @inlinable package static var answeredEarly: Flags { Flags(rawValue: 2048) }
  }

  static let initialHeaderCapacity = 512
  static let initialBodyCapacity = 512
  /// Larger buffers go back to the allocator when a stream ends.
  static let keptCapacityMax = 16 * 1024

  /// Where a stream counts that no connection has.
  // nonisolated(unsafe): never read or written, only pointed at.
  private nonisolated(unsafe) static let nowhere = UnsafeMutablePointer<Int>.allocate(capacity: 1)

  init() {
    unsentTotal = Self.nowhere
    headers = Self.buffer(Self.initialHeaderCapacity)
    headerCapacity = Self.initialHeaderCapacity
    body = Self.buffer(Self.initialBodyCapacity)
    bodyCapacity = Self.initialBodyCapacity
    out = Self.buffer(Self.initialBodyCapacity)
    outCapacity = Self.initialBodyCapacity
  }

  /// From malloc, so that `realloc` can grow a large one without a copy.
  private static func buffer(_ capacity: Int) -> UnsafeMutablePointer<UInt8> {
    guard let memory = malloc(capacity) else { preconditionFailure("no memory for a stream") }
    return memory.assumingMemoryBound(to: UInt8.self)
  }

  /// Gives what has been received away, and goes on with an empty buffer.
  mutating func takeBody() -> TakenBody {
    let taken = TakenBody(
      base: body, bytes: UnsafeRawBufferPointer(start: body + bodyOffset, count: bodyLength - bodyOffset))
    body = Self.buffer(Self.initialBodyCapacity)
    bodyCapacity = Self.initialBodyCapacity
    bodyOffset = 0
    bodyLength = 0
    return taken
  }

  mutating func reset(id: Int32) {
    self.id = id
    flags = []
    headerLength = 0
    headerFields = 0
    headerListBytes = 0
    blockStart = 0
    rules = RequestRules()
    matchedFields = -1
    fieldsGeneration = 0
    bodyOffset = 0
    bodyLength = 0
    unconsumed = 0
    outOffset = 0
    outLength = 0
    sentBytes = 0
    userHandle = nil
    userObject = nil
    userPrincipal = nil
    userDeadline = 0
    userStart = 0
    userState = 0
    userFlags = 0
    userTouched = 0
    userStalledSince = 0
    userStalledAt = 0
    userIndex = -1
    userRequestBytes = 0
    userResponseBytes = 0
    firstBlock = HeaderBlock()
  }

  /// Gives large buffers back.
  mutating func trim() {
    if headerCapacity > Self.keptCapacityMax {
      free(headers)
      headers = Self.buffer(Self.initialHeaderCapacity)
      headerCapacity = Self.initialHeaderCapacity
    }
    if bodyCapacity > Self.keptCapacityMax {
      free(body)
      body = Self.buffer(Self.initialBodyCapacity)
      bodyCapacity = Self.initialBodyCapacity
    }
    if outCapacity > Self.keptCapacityMax {
      free(out)
      out = Self.buffer(Self.initialBodyCapacity)
      outCapacity = Self.initialBodyCapacity
    }
  }

  func deallocate() {
    free(headers)
    free(body)
    free(out)
  }
}

package typealias StreamPointer = UnsafeMutablePointer<HTTP2Stream>

extension HTTP2Stream {
  /// Appends bytes to a buffer, doubling it. Grows by bytes that really came, never by what a peer announces.
  @inlinable @inline(__always)
  static func append(
    _ source: UnsafePointer<UInt8>, _ count: Int, to buffer: inout UnsafeMutablePointer<UInt8>,
    offset: inout Int, length: inout Int, capacity: inout Int
  ) {
    if length &+ count > capacity {
      makeRoom(count, in: &buffer, offset: &offset, length: &length, capacity: &capacity)
    }
    (buffer + length).initialize(from: source, count: count)
    length &+= count
  }

  @inline(never) @usableFromInline
  static func makeRoom(
    _ count: Int, in buffer: inout UnsafeMutablePointer<UInt8>, offset: inout Int,
    length: inout Int, capacity: inout Int
  ) {
    let unread = length - offset
    if unread + count <= capacity, offset > 0 {
      memmove(buffer, buffer + offset, unread)
    } else {
      var grown = capacity
      while grown < unread + count { grown *= 2 }
      if offset > 0 { memmove(buffer, buffer + offset, unread) }
      guard let fresh = realloc(buffer, grown) else { preconditionFailure("no memory for a message") }
      buffer = fresh.assumingMemoryBound(to: UInt8.self)
      capacity = grown
    }
    offset = 0
    length = unread
  }
}

/// The bytes of a stream's body, which are nobody's until they are copied or dropped: exactly one of both must be called.
// @unchecked: whoever has it is the only one who has.
package struct TakenBody: @unchecked Sendable {
  fileprivate let base: UnsafeMutablePointer<UInt8>
  package let bytes: UnsafeRawBufferPointer

  /// The bytes from a position on, as an array; the memory goes back.
  package func array(from start: Int) -> [UInt8] {
    defer { free(base) }
    return Array(bytes[start...])
  }

  package func drop() { free(base) }
}

extension UnsafeMutablePointer where Pointee == HTTP2Stream {
  /// Gives what has been received away: for a message that is worked on elsewhere.
  package func takeBody() -> TakenBody { pointee.takeBody() }

  @inline(never)
  func growHeaders(by count: Int) {
    var capacity = pointee.headerCapacity
    while capacity < pointee.headerLength + count { capacity *= 2 }
    guard let fresh = realloc(pointee.headers, capacity) else {
      preconditionFailure("no memory for headers")
    }
    pointee.headers = fresh.assumingMemoryBound(to: UInt8.self)
    pointee.headerCapacity = capacity
  }

  /// What has been received and not yet read.
  @inlinable @inline(__always)
  package var unread: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: pointee.body + pointee.bodyOffset, count: pointee.bodyLength &- pointee.bodyOffset)
  }

  /// Takes bytes from the front of `unread`. The peer's window is a matter of `HTTP2Connection.consume`.
  @inlinable @inline(__always)
  package func skip(_ count: Int) {
    pointee.bodyOffset &+= count
    if pointee.bodyOffset == pointee.bodyLength {
      pointee.bodyOffset = 0
      pointee.bodyLength = 0
    }
  }

  /// Bytes that wait to be sent.
  @inlinable @inline(__always)
  package var unsentBytes: Int { pointee.outLength &- pointee.outOffset }

  /// Adds to the body to send. The owner then calls `HTTP2Connection.resume`.
  @inlinable @inline(__always)
  package func write(_ bytes: UnsafeRawBufferPointer) {
    guard let base = bytes.baseAddress, bytes.count > 0 else { return }
    pointee.unsentTotal.pointee &+= bytes.count
    HTTP2Stream.append(
      base.assumingMemoryBound(to: UInt8.self), bytes.count, to: &pointee.out,
      offset: &pointee.outOffset, length: &pointee.outLength, capacity: &pointee.outCapacity)
  }

  /// Adds a gRPC message: its five-byte prefix and its bytes.
  @inlinable @inline(__always)
  package func writeMessage(_ bytes: UnsafeRawBufferPointer, packed: Bool = false) {
    var prefix: (UInt8, UInt8, UInt8, UInt8, UInt8)
    let count = bytes.count
    prefix = (
      packed ? 1 : 0, UInt8(truncatingIfNeeded: count >> 24), UInt8(truncatingIfNeeded: count >> 16),
      UInt8(truncatingIfNeeded: count >> 8), UInt8(truncatingIfNeeded: count)
    )
    withUnsafeBytes(of: &prefix) { write($0) }
    write(bytes)
  }

  /// Visits the fields of one block, given by an event, in order.
  @inlinable @inline(__always)
  package func forEachHeader(
    in block: HeaderBlock,
    _ body: (HeaderName, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Void
  ) {
    KeptFields.forEach(in: fields(of: block)) { name, label, value, _ in body(name, label, value) }
  }

  /// The fields of one block as they are kept: see `KeptFields`. Valid until the stream's next event.
  @inlinable @inline(__always)
  package func fields(of block: HeaderBlock) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: pointee.headers + Int(block.offset), count: Int(block.length))
  }
}

/// Header fields in a row: [name u8][0][nameLength u16][valueLength u16][name, of custom ones][value].
@usableFromInline
package enum KeptFields {
  /// Visits the fields in order; `whole`: the field as it is kept.
  @inlinable @inline(__always)
  package static func forEach(
    in fields: UnsafeRawBufferPointer,
    _ body: (
      HeaderName, _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer,
      _ whole: UnsafeRawBufferPointer
    ) -> Void
  ) {
    guard let base = fields.baseAddress else { return }
    var position = 0
    while position < fields.count {
      let name = base.load(fromByteOffset: position, as: HeaderName.self)
      let nameLength = Int(base.loadUnaligned(fromByteOffset: position &+ 2, as: UInt16.self))
      let valueLength = Int(base.loadUnaligned(fromByteOffset: position &+ 4, as: UInt16.self))
      let start = base + position + 6
      let length = 6 &+ nameLength &+ valueLength
      body(
        name, UnsafeRawBufferPointer(start: start, count: nameLength),
        UnsafeRawBufferPointer(start: start + nameLength, count: valueLength),
        UnsafeRawBufferPointer(start: base + position, count: length))
      position &+= length
    }
  }
}

/// Where a header block lies within its stream.
@usableFromInline
package struct HeaderBlock: Sendable {
  @usableFromInline package internal(set) var offset: UInt32 = 0
  @usableFromInline package internal(set) var length: UInt32 = 0
}
