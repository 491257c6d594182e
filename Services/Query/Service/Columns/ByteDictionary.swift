/// Strings of bytes in first-seen order: a string's code is its position. Code 0 is the empty string and means missing.
///
/// A look-up of a known string allocates nothing and reads two cache lines: one of the index, one of the string. Strings that come
/// from the file are indexed once somebody looks for one, and may lie packed until somebody asks for one.
struct ByteDictionary: Sendable {
  /// From code 1 on.
  private var strings = ByteStrings()
  private var slots = HashSlots()
  /// One more than the highest code that `slots` knows.
  private var indexedCount = 1
  /// Codes whose strings are about to be erased.
  private var hidden: Set<UInt32> = []
  /// All that is known, as long as nobody has asked for a string: the rest is empty then.
  private var packed: PackedStrings?

  init() {}

  init(_ packed: PackedStrings) { self.packed = packed }

  /// One more than the highest code.
  var count: Int { packed?.count ?? strings.count + 1 }

  /// Bytes of memory, about.
  var byteCount: Int { (packed?.byteCount ?? 0) + strings.byteCount + slots.byteCount }

  /// Lets the strings be unpacked where others are not held up by it; nil: none lie packed.
  var packedStrings: PackedStrings? { packed }

  /// Unpacks what lies packed, for good. Cost: linear in the strings, once; nothing where `PackedStrings` has done it already.
  mutating func unpack() {
    guard let packed else { return }
    self = packed.strings
  }

  /// The code of a string, given anew where it has none.
  mutating func code(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    if bytes.isEmpty { return 0 }
    index()
    return code(bytes, ByteHash.hash(bytes))
  }

  @inline(__always)
  private mutating func code(_ bytes: UnsafeRawBufferPointer, _ hash: UInt32) -> UInt32 {
    if let found = find(bytes, hash) { return found }
    return insert(bytes, hash)
  }

  /// The codes of strings, in their order, as `code` gives them. Where the dictionary is larger than the processor's caches each
  /// look-up waits for memory twice: first all slots are read, then all strings, so that many of them wait at a time.
  mutating func codes(_ others: ByteStrings) -> [UInt32] {
    index()
    let hashes = (0..<others.count).map { others.withBytes($0, ByteHash.hash) }
    let candidates = hashes.map { slots.candidate($0) }
    var codes: [UInt32] = []
    codes.reserveCapacity(hashes.count)
    for number in hashes.indices {
      let candidate = candidates[number]
      others.withBytes(number) { bytes in
        if candidate != 0, equals(candidate, bytes), !hidden.contains(candidate) {
          codes.append(candidate)
        } else {
          codes.append(bytes.isEmpty ? 0 : code(bytes, hashes[number]))
        }
      }
    }
    return codes
  }

  /// Indexes what came from the file. Cost: linear in the strings, once.
  mutating func index() {
    if packed != nil { unpack() }
    if indexedCount < count { makeIndex() }
  }

  private mutating func makeIndex() {
    slots.removeAll(roomFor: count)
    for code in 1..<count where !strings.isEmpty(code - 1) {
      slots.insert(UInt32(code), strings.withBytes(code - 1, ByteHash.hash))
    }
    indexedCount = count
  }

  /// The code of a string, nil where it was never seen.
  func existing(_ bytes: UnsafeRawBufferPointer) -> UInt32? {
    if bytes.isEmpty { return 0 }
    if let packed { return packed.strings.existing(bytes) }
    if indexedCount < count {
      // Rare: nobody has added a string since the start. A walk is cheaper than the index.
      return (1..<UInt32(count)).first { equals($0, bytes) && !hidden.contains($0) }
    }
    return find(bytes, ByteHash.hash(bytes))
  }

  func existing(_ text: String) -> UInt32? {
    var text = text
    return text.withUTF8 { existing(UnsafeRawBufferPointer($0)) }
  }

  mutating func code(_ text: String) -> UInt32 {
    var text = text
    return text.withUTF8 { code(UnsafeRawBufferPointer($0)) }
  }

  /// The string of a code as text. Precondition: the code was given by this dictionary.
  func text(_ code: UInt32) -> String { withBytes(code) { String(decoding: $0, as: UTF8.self) } }

  func withBytes<T>(_ code: UInt32, _ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
    if let packed { return try packed.strings.withBytes(code, body) }
    if code == 0 { return try body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    return try strings.withBytes(Int(code) - 1, body)
  }

  // MARK: Erasing

  /// No look-up finds these strings any more, though their codes still tell them: one that comes again gets another code.
  mutating func hide(_ codes: some Collection<UInt32>) {
    guard !codes.isEmpty else { return }
    unpack()
    hidden.formUnion(codes)
  }

  /// Codes of strings that look-ups find.
  func codes(where matches: (UnsafeRawBufferPointer) -> Bool) -> [UInt32] {
    if let packed { return packed.strings.codes(where: matches) }
    return (1..<max(1, UInt32(count))).filter { code in
      !hidden.contains(code) && withBytes(code) { !$0.isEmpty && matches($0) }
    }
  }

  /// Puts nothing in the place of strings; their codes stay taken. Cost: linear in the pieces of the dictionary that hold one.
  mutating func erase(_ codes: Set<UInt32>) {
    guard !codes.isEmpty else { return }
    unpack()
    strings.erase(codes.map { Int($0) - 1 }.filter { strings.holds($0) })
    hidden.subtract(codes)
  }

  @inline(__always)
  private func find(_ bytes: UnsafeRawBufferPointer, _ hash: UInt32) -> UInt32? {
    slots.first(hash) { equals($0, bytes) && !hidden.contains($0) }
  }

  @inline(__always)
  private func equals(_ code: UInt32, _ bytes: UnsafeRawBufferPointer) -> Bool {
    strings.withBytes(Int(code) - 1) { ByteHash.areEqual($0, bytes) }
  }

  private mutating func insert(_ bytes: UnsafeRawBufferPointer, _ hash: UInt32) -> UInt32 {
    let code = UInt32(count)
    strings.append(bytes)
    if count > slots.capacity {
      makeIndex()
    } else {
      slots.insert(code, hash)
      indexedCount = count
    }
    return code
  }
}

extension ByteDictionary {
  /// The strings of these codes, to be stored: for each its length (4 bytes, little-endian) and its bytes. Nothing of those that
  /// are about to be erased.
  func encode(_ codes: Range<Int>) -> [UInt8] {
    precondition(codes.lowerBound >= 1 && codes.upperBound <= count)
    var writer = ByteWriter()
    for code in codes {
      if hidden.contains(UInt32(code)) {
        writer.append(UInt32(0))
        continue
      }
      withBytes(UInt32(code)) {
        writer.append(UInt32($0.count))
        writer.append($0)
      }
    }
    return writer.bytes
  }

  /// Adds what `encode` gave, in the same order. An empty string is one that was erased.
  mutating func append(encoded bytes: [UInt8]) throws(FormatError) {
    unpack()
    let lengths = try Self.lengths(bytes)
    bytes.withUnsafeBytes { source in
      var from = 4
      for length in lengths {
        strings.append(UnsafeRawBufferPointer(rebasing: source[from..<from + length]))
        from += length + 4
      }
    }
  }

  /// How many strings `encode` gave.
  static func stringCount(encoded bytes: [UInt8]) throws(FormatError) -> Int {
    try lengths(bytes).count
  }

  /// How long each string is. Checks that they fill the bytes.
  private static func lengths(_ bytes: [UInt8]) throws(FormatError) -> [Int] {
    var lengths: [Int] = []
    lengths.reserveCapacity(bytes.count / 16)
    var offset = 0
    while offset < bytes.count {
      guard offset + 4 <= bytes.count else { throw FormatError("a dictionary's chunk ends early") }
      let length = Int(
        UInt32(
          littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }))
      offset += 4
      guard length <= bytes.count - offset else {
        throw FormatError("a dictionary's chunk holds a string of \(length) bytes")
      }
      lengths.append(length)
      offset += length
    }
    return lengths
  }

  /// Adds strings of one length: the first byte of all, then the second ones.
  mutating func append(planes: [UInt8], width: Int) {
    unpack()
    strings.append(planes: planes, width: width)
  }
}

/// A hash of short strings, seeded by the process so that nobody can choose colliding ones.
enum ByteHash {
  private static let seed = UInt64.random(in: 1...UInt64.max)
  private static let prime: UInt64 = 0x9E37_79B9_7F4A_7C15

  @inline(__always)
  static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    var state = seed ^ (UInt64(bytes.count) &* prime)
    var offset = 0
    while offset + 8 <= bytes.count {
      state = mix(state ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset += 8
    }
    var rest: UInt64 = 0
    while offset < bytes.count {
      rest = rest << 8 | UInt64(bytes[offset])
      offset += 1
    }
    state = mix(state ^ rest)
    return UInt32(truncatingIfNeeded: state ^ state >> 32)
  }

  @inline(__always)
  static func areEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
    let length = a.count
    guard length == b.count else { return false }
    guard let a = a.baseAddress, let b = b.baseAddress else { return length == 0 }
    // Eight bytes at a time; the last eight may overlap those before.
    if length < 8 {
      return (0..<length).allSatisfy {
        a.load(fromByteOffset: $0, as: UInt8.self) == b.load(fromByteOffset: $0, as: UInt8.self)
      }
    }
    var offset = 0
    while offset + 8 < length {
      if !areEqualWords(a, b, offset) { return false }
      offset &+= 8
    }
    return areEqualWords(a, b, length - 8)
  }

  @inline(__always)
  private static func areEqualWords(
    _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ offset: Int
  ) -> Bool {
    a.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      == b.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  /// A hash of words one after another: of those before, and of one more.
  @inline(__always)
  static func mixed(_ state: UInt64, _ word: UInt64) -> UInt64 { mix(state ^ word) }

  @inline(__always)
  private static func mix(_ value: UInt64) -> UInt64 {
    let product = (value ^ seed).multipliedFullWidth(by: prime)
    return product.high ^ product.low
  }
}
