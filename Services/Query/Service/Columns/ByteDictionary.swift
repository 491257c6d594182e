/// Strings of bytes in first-seen order: a string's code is its position. Code 0 is the empty string and means missing.
///
/// Open addressing over one arena: a look-up of a known string allocates nothing. Strings that come from the file are
/// indexed once somebody looks for one, and may lie packed until somebody asks for one.
struct ByteDictionary: Sendable {
  private var arena: [UInt8] = []
  /// `ends[code]`: where the string ends in the arena; it begins where the one before ends.
  private var ends: [Int] = [0]
  /// Of the strings that are indexed, the first ones.
  private var hashes: [UInt32] = [0]
  /// Code, or 0 where the slot is free. Its size is a power of two, at least twice the count.
  private var slots: [UInt32] = Array(repeating: 0, count: 16)
  /// Codes whose strings are about to be erased.
  private var hidden: Set<UInt32> = []
  /// All that is known, as long as nobody has asked for a string: the rest is empty then.
  private var packed: PackedStrings?

  init() {}

  init(_ packed: PackedStrings) { self.packed = packed }

  /// One more than the highest code.
  var count: Int { packed?.count ?? ends.count }

  /// Bytes of memory, about.
  var byteCount: Int {
    (packed?.byteCount ?? 0) + arena.capacity + ends.capacity * 8 + hashes.capacity * 4 + slots.count * 4
  }

  /// Lets the strings be unpacked where others are not held up by it; nil: none lie packed.
  var packedStrings: PackedStrings? { packed }

  /// Unpacks what lies packed, for good. Cost: linear in the strings, once; nothing where `PackedStrings` has done it already.
  mutating func unpack() {
    guard let packed else { return }
    self = packed.strings
  }

  /// Makes room for strings that are about to be added.
  mutating func reserve(strings: Int, bytes: Int) {
    ends.reserveCapacity(ends.count + strings)
    arena.reserveCapacity(arena.count + bytes)
  }

  /// The code of a string, given anew where it has none.
  mutating func code(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
    if bytes.isEmpty { return 0 }
    if packed != nil { unpack() }
    if hashes.count < ends.count { index() }
    let hash = ByteHash.hash(bytes)
    if let found = find(bytes, hash) { return found }
    return insert(bytes, hash)
  }

  /// Indexes what came from the file. Cost: linear in the strings, once.
  mutating func index() {
    unpack()
    guard hashes.count < ends.count else { return }
    var size = slots.count
    while size < ends.count * 2 { size *= 2 }
    hashes.reserveCapacity(ends.count)
    for code in hashes.count..<ends.count { hashes.append(withBytes(UInt32(code), ByteHash.hash)) }
    slots = Array(repeating: 0, count: size)
    for code in 1..<ends.count where !range(code).isEmpty { place(UInt32(code), hashes[code]) }
  }

  /// The code of a string, nil where it was never seen.
  func existing(_ bytes: UnsafeRawBufferPointer) -> UInt32? {
    if bytes.isEmpty { return 0 }
    if let packed { return packed.strings.existing(bytes) }
    if hashes.count < ends.count {
      // Rare: nobody has added a string since the start. A walk is cheaper than the index.
      return (1..<UInt32(ends.count)).first { equals(Int($0), bytes) && !hidden.contains($0) }
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
    let range = range(Int(code))
    return try arena.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[range])) }
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

  /// Puts nothing in the place of strings; their codes stay taken. Cost: linear in the dictionary.
  mutating func erase(_ codes: Set<UInt32>) {
    guard !codes.isEmpty else { return }
    unpack()
    var left: [UInt8] = []
    left.reserveCapacity(arena.count)
    var newEnds = [0]
    newEnds.reserveCapacity(ends.count)
    for code in 1..<max(1, ends.count) {
      if !codes.contains(UInt32(code)) { left += arena[range(code)] }
      newEnds.append(left.count)
    }
    arena = left
    ends = newEnds
    hidden.subtract(codes)
  }

  private func range(_ code: Int) -> Range<Int> {
    precondition(code < ends.count, "a code of another dictionary")
    return code == 0 ? 0..<0 : ends[code - 1]..<ends[code]
  }

  private func find(_ bytes: UnsafeRawBufferPointer, _ hash: UInt32) -> UInt32? {
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while slots[slot] != 0 {
      let code = slots[slot]
      if hashes[Int(code)] == hash, equals(Int(code), bytes), !hidden.contains(code) { return code }
      slot = (slot + 1) & mask
    }
    return nil
  }

  private func equals(_ code: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let range = ends[code - 1]..<ends[code]
    let length = range.count
    guard length == bytes.count, let other = bytes.baseAddress else { return false }
    return arena.withUnsafeBytes { arena in
      guard let start = arena.baseAddress else { return false }
      let own = start + range.lowerBound
      // Eight bytes at a time; the last eight may overlap those before.
      if length < 8 { return (0..<length).allSatisfy { own.load(fromByteOffset: $0, as: UInt8.self) == bytes[$0] } }
      var offset = 0
      while offset + 8 < length {
        if !Self.equalWords(own, other, offset) { return false }
        offset &+= 8
      }
      return Self.equalWords(own, other, length - 8)
    }
  }

  @inline(__always)
  private static func equalWords(
    _ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ offset: Int
  ) -> Bool {
    a.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      == b.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }

  private mutating func insert(_ bytes: UnsafeRawBufferPointer, _ hash: UInt32) -> UInt32 {
    precondition(ends.count < Int(UInt32.max), "a dictionary holds at most 2^32 strings")
    let code = UInt32(ends.count)
    arena.append(contentsOf: bytes)
    ends.append(arena.count)
    hashes.append(hash)
    if ends.count * 2 > slots.count { grow() } else { place(code, hash) }
    return code
  }

  private mutating func place(_ code: UInt32, _ hash: UInt32) {
    let mask = slots.count - 1
    var slot = Int(hash) & mask
    while slots[slot] != 0 { slot = (slot + 1) & mask }
    slots[slot] = code
  }

  private mutating func grow() {
    slots = Array(repeating: 0, count: slots.count * 2)
    for code in 1..<ends.count where !range(code).isEmpty { place(UInt32(code), hashes[code]) }
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
    let begin = arena.count
    let added = bytes.count - lengths.count * 4
    arena += [UInt8](unsafeUninitializedCapacity: added) { target, filled in
      filled = added
      bytes.withUnsafeBytes { source in
        let target = UnsafeMutableRawBufferPointer(target)
        var from = 4
        var to = 0
        for length in lengths {
          UnsafeMutableRawBufferPointer(rebasing: target[to..<to + length])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[from..<from + length]))
          from += length + 4
          to += length
          ends.append(begin + to)
        }
      }
    }
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
}

extension ByteDictionary {
  /// Adds strings of one length: the first byte of all, then the second ones.
  mutating func append(planes: [UInt8], width: Int) {
    unpack()
    let count = planes.count / width
    let start = arena.count
    arena.append(contentsOf: repeatElement(0, count: count * width))
    arena.withUnsafeMutableBufferPointer { arena in
      planes.withUnsafeBufferPointer { planes in
        // A few strings at a time: they stay in the cache while their places are filled.
        for first in stride(from: 0, to: count, by: 64) {
          for place in 0..<width {
            for string in first..<min(first + 64, count) {
              arena[start &+ string &* width &+ place] = planes[place &* count &+ string]
            }
          }
        }
      }
    }
    ends.append(contentsOf: (1...max(count, 1)).lazy.prefix(count).map { start + $0 * width })
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
  private static func mix(_ value: UInt64) -> UInt64 {
    let product = (value ^ seed).multipliedFullWidth(by: prime)
    return product.high ^ product.low
  }
}
