import Synchronization

/// A piece of a dictionary as it is stored: docs/formats/query.md, "Dictionary".
enum DictionaryChunk {
  /// The column `encoding` of its row.
  enum Encoding {
    static let plain = 0
    static let compressed = 1
    static let planes = 2
  }

  /// The same in fewer bytes, once it has grown as far as it will.
  ///
  /// - Parameter entries: as `ByteDictionary.encode` gives them.
  /// - Returns: nil where that gains nothing.
  static func compressed(_ entries: [UInt8]) -> (bytes: [UInt8], encoding: Int)? {
    let whole = Zstd.compress(entries, level: Limits.compressionLevel).map {
      (bytes: header([entries.count]) + $0, encoding: Encoding.compressed)
    }
    guard let planes = planes(entries) else { return whole }
    if let whole, whole.bytes.count <= planes.count { return whole }
    return (planes, Encoding.planes)
  }

  /// Strings of one length: first the first byte of all, then the second ones. Identifiers are of one length, and each of their
  /// places has a distribution of its own.
  private static func planes(_ entries: [UInt8]) -> [UInt8]? {
    guard let width = width(entries) else { return nil }
    let count = entries.count / (width + 4)
    let planes = [UInt8](unsafeUninitializedCapacity: count * width) { target, filled in
      filled = count * width
      for place in 0..<width {
        for string in 0..<count {
          target.initializeElement(
            at: place * count + string, to: entries[string * (width + 4) + 4 + place])
        }
      }
    }
    return Zstd.compressSmallest(planes).map { header([planes.count, width]) + $0 }
  }

  /// The length that all the strings have.
  private static func width(_ entries: [UInt8]) -> Int? {
    guard entries.count > 4 else { return nil }
    let width = number(entries, 0)
    guard width > 0, width <= 256, entries.count % (width + 4) == 0 else { return nil }
    let starts = stride(from: 0, to: entries.count, by: width + 4)
    return starts.allSatisfy { number(entries, $0) == width } ? width : nil
  }

  private static func header(_ numbers: [Int]) -> [UInt8] {
    var writer = ByteWriter()
    for number in numbers { writer.append(UInt32(number)) }
    return writer.bytes
  }

  static func number(_ bytes: [UInt8], _ offset: Int) -> Int {
    (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << ($1 * 8) }
  }
}

extension DictionaryChunk {
  /// What a chunk says of itself.
  private struct Header {
    /// Bytes before those that are compressed, and how many they are without that.
    var count = 0
    var rawBytes: Int
    /// Of each string; 0: each tells its length.
    var width = 0

    init(_ entries: [UInt8], encoding: Int) throws(FormatError) {
      rawBytes = entries.count
      switch encoding {
      case Encoding.plain: return
      case Encoding.compressed: count = 4
      case Encoding.planes: count = 8
      default: throw FormatError("a dictionary's chunk written in way \(encoding)")
      }
      guard entries.count >= count else { throw FormatError("a dictionary's chunk ends early") }
      rawBytes = number(entries, 0)
      guard rawBytes <= Limits.dictionaryChunkRawBytesMax else {
        throw FormatError("a dictionary's chunk of \(rawBytes) bytes")
      }
      guard encoding == Encoding.planes else { return }
      width = number(entries, 4)
      guard (1...256).contains(width), rawBytes % width == 0 else {
        throw FormatError("a dictionary's chunk of strings of \(width) bytes")
      }
    }
  }

  /// How many strings a chunk of the file holds, by its column `encoding`.
  static func stringCount(_ entries: [UInt8], encoding: Int) throws(FormatError) -> Int {
    let header = try Header(entries, encoding: encoding)
    if header.width > 0 { return header.rawBytes / header.width }
    return try ByteDictionary.stringCount(encoded: try raw(entries, header))
  }

  fileprivate static func append(
    _ entries: [UInt8], encoding: Int, to strings: inout ByteDictionary
  ) throws(FormatError) {
    let header = try Header(entries, encoding: encoding)
    let raw = try raw(entries, header)
    if header.width > 0 {
      strings.append(planes: raw, width: header.width)
    } else {
      try strings.append(encoded: raw)
    }
  }

  private static func raw(_ entries: [UInt8], _ header: Header) throws(FormatError) -> [UInt8] {
    if header.count == 0 { return entries }
    return try Zstd.decompress(Array(entries[header.count...]), length: header.rawBytes)
  }
}

extension ByteDictionary {
  /// Adds the strings of a chunk of the file, by its column `encoding`.
  mutating func append(stored entries: [UInt8], encoding: Int) throws(FormatError) {
    try DictionaryChunk.append(entries, encoding: encoding, to: &self)
  }
}

/// The chunks of a dictionary as the file has them, until somebody asks for a string: most reports name users by their codes
/// alone, and a start does not wait for a million of them.
final class PackedStrings: Sendable {
  struct Chunk: Sendable {
    /// Code of its first string.
    let first: Int
    let entries: [UInt8]
    let encoding: Int
  }

  /// One more than the highest code.
  let count: Int
  private let chunks: [Chunk]
  private let unpacked = Mutex<ByteDictionary?>(nil)

  /// - Parameter chunks: in order, from code 1 on and without gaps, their checksums verified; at least one.
  /// - Throws: where the last one is damaged, or `chunks` has a gap.
  init(_ chunks: [Chunk]) throws(FormatError) {
    guard let last = chunks.last, chunks[0].first == 1,
      zip(chunks, chunks.dropFirst()).allSatisfy({ $0.first < $1.first })
    else { throw FormatError("a dictionary with a gap") }
    self.chunks = chunks
    count = last.first + (try DictionaryChunk.stringCount(last.entries, encoding: last.encoding))
  }

  /// Bytes of memory, about.
  var byteCount: Int { chunks.reduce(0) { $0 + $1.entries.count } }

  func unpack() { _ = strings }

  /// All strings. The first call unpacks them.
  var strings: ByteDictionary {
    unpacked.withLock { unpacked in
      if let unpacked { return unpacked }
      let made = made()
      unpacked = made
      return made
    }
  }

  private func made() -> ByteDictionary {
    var strings = ByteDictionary()
    do {
      for chunk in chunks {
        guard strings.count == chunk.first else {
          throw FormatError("a dictionary with a gap before code \(chunk.first)")
        }
        try strings.append(stored: chunk.entries, encoding: chunk.encoding)
      }
    } catch {
      // Their checksums were right: they were written so.
      preconditionFailure("query.sqlite: \(error)")
    }
    return strings
  }
}
