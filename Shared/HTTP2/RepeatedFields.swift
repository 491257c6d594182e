internal import CNghttp2

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The fields of one request of a connection: most clients send the same with every call, as references to HPACK's tables, whose entries
/// nghttp2 hands out without copying them. A field that is the very same object as the one of that request in its place, or has the same
/// bytes, needs no second look. The objects are kept: their addresses are nobody else's meanwhile.
///
/// In raw memory, as `HTTP2Stream`.
struct RepeatedFields {
  private struct Field {
    var name: OpaquePointer
    var value: OpaquePointer
    /// What the stream held behind it: bytes of `headers`, name + value + 32 of all fields, and the rules' state.
    var length: Int
    var listBytes: Int
    var rules: RequestRules
  }

  private static let fieldsMax = 16
  private static let bytesMax = 1_024
  /// Another request is learnt once so many in a row were not like the one that is known.
  private static let missesMax = 16

  private var fields: UnsafeMutablePointer<Field>?
  private var bytes: UnsafeMutablePointer<UInt8>?
  private var count = 0
  private var misses = 0
  /// The block that is being received is learnt, in `fields[..<count]`.
  private var isLearning = false
  /// Counts the requests that were learnt.
  private var generation = 0

  /// A request begins. -1: its fields are looked at one by one; else how many were like the known ones: none yet.
  @inline(__always)
  mutating func begin() -> Int16 {
    if misses >= Self.missesMax || fields == nil {
      startLearning()
      return -1
    }
    return count > 0 ? 0 : -1
  }

  @inline(never)
  private mutating func startLearning() {
    if fields == nil {
      fields = .allocate(capacity: Self.fieldsMax)
      bytes = .allocate(capacity: Self.bytesMax)
    }
    forget()
    misses = 0
    isLearning = true
  }

  /// Whether a field is the one that is known for its place.
  @inline(__always)
  func matches(_ index: Int16, _ name: OpaquePointer, _ value: OpaquePointer) -> Bool {
    let index = Int(index)
    guard index < count, let fields else { return false }
    return fields[index].value == value && fields[index].name == name
      || Self.equals(fields[index].name, name) && Self.equals(fields[index].value, value)
  }

  /// Some clients never refer to a path or a token. Takes the same time wherever the bytes differ.
  @inline(never)
  private static func equals(_ a: OpaquePointer, _ b: OpaquePointer) -> Bool {
    if a == b { return true }
    let (first, second) = (nghttp2_rcbuf_get_buf(a), nghttp2_rcbuf_get_buf(b))
    let count = first.len
    guard count == second.len, let first = first.base, let second = second.base else { return false }
    var difference: UInt64 = 0
    for index in 0..<(count / 8) {
      difference |=
        UnsafeRawPointer(first).loadUnaligned(fromByteOffset: 8 &* index, as: UInt64.self)
        ^ UnsafeRawPointer(second).loadUnaligned(fromByteOffset: 8 &* index, as: UInt64.self)
    }
    for index in (count & ~7)..<count { difference |= UInt64(first[index] ^ second[index]) }
    return difference == 0
  }

  /// A field was looked at, and `stream` holds it.
  @inline(__always)
  mutating func looked(_ name: OpaquePointer, _ value: OpaquePointer, _ stream: StreamPointer) {
    if isLearning { learn(name, value, stream) }
  }

  @inline(never)
  private mutating func learn(_ name: OpaquePointer, _ value: OpaquePointer, _ stream: StreamPointer) {
    guard let fields, count < Self.fieldsMax, stream.pointee.headerLength <= Self.bytesMax else {
      return stopLearning()
    }
    nghttp2_rcbuf_incref(name)
    nghttp2_rcbuf_incref(value)
    (fields + count).initialize(
      to: Field(
        name: name, value: value, length: stream.pointee.headerLength,
        listBytes: stream.pointee.headerListBytes, rules: stream.pointee.rules))
    count += 1
  }

  /// The block is not one to be known.
  @inline(__always)
  mutating func stopLearningIfSo() {
    if isLearning { stopLearning() }
  }

  @inline(never)
  private mutating func stopLearning() {
    isLearning = false
    forget()
  }

  /// A request's block has come to its end: its stream holds its fields from here on.
  @inline(__always)
  mutating func end(_ stream: StreamPointer) {
    let matched = stream.pointee.matchedFields
    guard matched > 0, Int(matched) == count else { return miss(stream) }
    misses = 0
    give(stream)
    stream.pointee.fieldsGeneration = generation
  }

  @inline(never)
  private mutating func miss(_ stream: StreamPointer) {
    give(stream)
    if isLearning {
      isLearning = false
      generation += 1
      if let bytes { memcpy(bytes, stream.pointee.headers, stream.pointee.headerLength) }
    } else {
      misses += 1
    }
  }

  /// Puts the known fields that matched where they would be, had each been looked at. From here on each is.
  mutating func give(_ stream: StreamPointer) {
    let matched = Int(stream.pointee.matchedFields)
    stream.pointee.matchedFields = -1
    guard matched > 0, let fields, let bytes else { return }
    let last = fields + (matched - 1)
    if last.pointee.length > stream.pointee.headerCapacity { stream.growHeaders(by: last.pointee.length) }
    memcpy(stream.pointee.headers, bytes, last.pointee.length)
    stream.pointee.headerLength = last.pointee.length
    stream.pointee.headerListBytes = last.pointee.listBytes
    stream.pointee.headerFields = matched
    stream.pointee.rules = last.pointee.rules
  }

  private mutating func forget() {
    guard let fields else { return }
    for index in 0..<count {
      nghttp2_rcbuf_decref(fields[index].name)
      nghttp2_rcbuf_decref(fields[index].value)
    }
    count = 0
  }

  /// Before the session is gone.
  mutating func deallocate() {
    forget()
    fields?.deallocate()
    bytes?.deallocate()
    fields = nil
    bytes = nil
  }
}
