#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// How far the write-ahead log reached when a commit was last told to be durable, in a small file beside the database. SQLite
/// takes a write-ahead log for ended at its first frame that does not fit its checksum: where a bit of it is flipped, or it is
/// cut, everything behind is gone without a word. The seal finds that at the next start.
///
/// ```
/// path-seal, 32 bytes, little-endian
/// | "FSEAL001" | salt 1: 4 | salt 2: 4 | frames: 4 | 0: 4 | check of the 24 bytes before: 8 |
/// ```
///
/// Written after each commit without a sync of its own: a killed process loses nothing of it, and after a power cut it may say
/// less than was durable, never more.
// Sendable because the store's writing queue alone uses it.
final class CommitSeal: @unchecked Sendable {
  struct Value: Equatable {
    /// The write-ahead log's salts, which change each time it begins anew.
    var salt1: UInt32 = 0
    var salt2: UInt32 = 0
    /// Frames that are durable. 0: nothing is asked of the write-ahead log.
    var frames: UInt32 = 0
  }

  private static let magic = Array("FSEAL001".utf8)
  private static let byteCount = 32

  private let path: String
  private let logPath: String
  private let descriptor: Int32
  private var log: Int32 = -1

  /// - Parameter path: of the database.
  init(path: String) throws(StoreError) {
    self.path = Self.path(of: path)
    logPath = path + "-wal"
    descriptor = open(self.path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw StoreError(.cannotOpen, "\(self.path): \(String(cString: strerror(errno)))")
    }
  }

  deinit {
    close(descriptor)
    if log >= 0 { close(log) }
  }

  static func path(of database: String) -> String { database + "-seal" }

  /// A commit is durable.
  ///
  /// - Parameter frames: in the write-ahead log now.
  func commit(frames: Int) {
    if log < 0 { log = open(logPath, O_RDONLY | O_CLOEXEC) }
    var head = [UInt8](repeating: 0, count: WriteAheadLog.headBytes)
    guard log >= 0, pread(log, &head, head.count, 0) == head.count else { return }
    write(
      Value(
        salt1: WriteAheadLog.bigEndian(head, 16), salt2: WriteAheadLog.bigEndian(head, 20),
        frames: UInt32(clamping: frames)))
  }

  /// The write-ahead log will be emptied. Synced: a later one begins with salts that have nothing to do with these.
  func release() {
    write(Value())
    // Where this fails the seal asks for more than there is, and the next start is refused rather than wrong.
    _ = fdatasync(descriptor)
    if log >= 0 { close(log) }
    log = -1
  }

  private func write(_ value: Value) {
    let bytes = Self.encoded(value)
    // Where this fails the seal says less.
    _ = pwrite(descriptor, bytes, bytes.count, 0)
  }

  private static func encoded(_ value: Value) -> [UInt8] {
    var bytes = magic
    for word in [value.salt1, value.salt2, value.frames, 0] {
      withUnsafeBytes(of: word.littleEndian) { bytes.append(contentsOf: $0) }
    }
    withUnsafeBytes(of: check(bytes).littleEndian) { bytes.append(contentsOf: $0) }
    return bytes
  }

  /// FNV-1a, 64 bits.
  private static func check(_ bytes: [UInt8]) -> UInt64 {
    bytes.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
  }

  /// nil where the bytes are no seal.
  private static func decoded(_ bytes: [UInt8]) -> Value? {
    guard bytes.count == byteCount, bytes.starts(with: magic) else { return nil }
    func word(_ offset: Int) -> UInt32 {
      bytes.withUnsafeBytes {
        UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
      }
    }
    let value = Value(salt1: word(8), salt2: word(12), frames: word(16))
    return encoded(value) == bytes ? value : nil
  }

  static func exists(database: String) -> Bool { access(path(of: database), F_OK) == 0 }

  static func systemError() -> String { String(cString: strerror(errno)) }

  /// Compares the write-ahead log with what was sealed, before anybody opens the database.
  ///
  /// - Throws: `corrupt` where durable commits are missing from it.
  static func check(database: String) throws(StoreError) {
    let path = path(of: database)
    guard let seal = decoded(WriteAheadLog.bytes(of: path, max: byteCount)), seal.frames > 0 else {
      return
    }
    let found = WriteAheadLog.read(database + "-wal")
    let distance = found.salt1 &- seal.salt1
    let isSame = found.isValid && found.salt1 == seal.salt1 && found.salt2 == seal.salt2
    if isSame, found.frames >= seal.frames { return }
    // It began anew since: SQLite does that only once all of it is in the file.
    if found.isValid, !isSame, distance > 0, distance < UInt32.max / 2 { return }
    throw StoreError(
      .corrupt,
      """
      \(database)-wal has lost durable commits: \(isSame ? found.frames : 0) of \(seal.frames) frames are left. \
      Restore a copy; to go on without them remove \(path)
      """)
  }
}

/// The first bytes of a database (sqlite.org/fileformat2.html, section 1.3).
enum DatabaseHead {
  private static let bytes = 100
  fileprivate static let userVersion = 60

  /// `PRAGMA user_version` as the files say it, without SQLite: opening a file may write to it, and closing empties its write-ahead
  /// log. 0: there is none.
  static func userVersion(of path: String) -> Int {
    if let version = WriteAheadLog.read(path + "-wal").userVersion { return Int(Int32(bitPattern: version)) }
    let head = WriteAheadLog.bytes(of: path, max: bytes)
    guard head.count == bytes, head.starts(with: Array("SQLite format 3\0".utf8)) else { return 0 }
    return Int(Int32(bitPattern: WriteAheadLog.bigEndian(head, userVersion)))
  }
}

/// SQLite's write-ahead log as bytes (sqlite.org/fileformat2.html, section 4).
enum WriteAheadLog {
  static let headBytes = 32
  private static let frameHeadBytes = 24

  struct Content {
    var isValid = false
    var salt1: UInt32 = 0
    var salt2: UInt32 = 0
    /// Frames from the first on that fit their checksums.
    var frames: UInt32 = 0
    /// `PRAGMA user_version` as of the last commit; nil: no commit has written the database's first page.
    var userVersion: UInt32?
  }

  static func read(_ path: String) -> Content {
    var content = Content()
    let bytes = Self.bytes(of: path, max: .max)
    guard bytes.count >= headBytes, bigEndian(bytes, 0) & 0xffff_fffe == 0x377f_0682 else {
      return content
    }
    let isBigEndian = bigEndian(bytes, 0) & 1 == 1
    var sum = Sum(isBigEndian: isBigEndian)
    sum.add(bytes, 0..<24)
    guard sum.first == bigEndian(bytes, 24), sum.second == bigEndian(bytes, 28) else { return content }
    content.isValid = true
    content.salt1 = bigEndian(bytes, 16)
    content.salt2 = bigEndian(bytes, 20)
    let pageBytes = Int(bigEndian(bytes, 8))
    guard pageBytes >= 512, pageBytes <= 65_536 else { return Content() }
    var offset = headBytes
    var userVersion: UInt32?
    while offset + frameHeadBytes + pageBytes <= bytes.count {
      guard bigEndian(bytes, offset + 8) == content.salt1,
        bigEndian(bytes, offset + 12) == content.salt2
      else { break }
      sum.add(bytes, offset..<offset + 8)
      sum.add(bytes, offset + frameHeadBytes..<offset + frameHeadBytes + pageBytes)
      guard sum.first == bigEndian(bytes, offset + 16), sum.second == bigEndian(bytes, offset + 20)
      else { break }
      content.frames += 1
      if bigEndian(bytes, offset) == 1 {
        userVersion = bigEndian(bytes, offset + frameHeadBytes + DatabaseHead.userVersion)
      }
      if bigEndian(bytes, offset + 4) != 0 { content.userVersion = userVersion }
      offset += frameHeadBytes + pageBytes
    }
    return content
  }

  /// The checksum over all bytes so far.
  private struct Sum {
    let isBigEndian: Bool
    var first: UInt32 = 0
    var second: UInt32 = 0

    mutating func add(_ bytes: [UInt8], _ range: Range<Int>) {
      bytes.withUnsafeBytes { all in
        var offset = range.lowerBound
        while offset + 8 <= range.upperBound {
          let a = all.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
          let b = all.loadUnaligned(fromByteOffset: offset + 4, as: UInt32.self)
          first = first &+ (isBigEndian ? UInt32(bigEndian: a) : UInt32(littleEndian: a)) &+ second
          second = second &+ (isBigEndian ? UInt32(bigEndian: b) : UInt32(littleEndian: b)) &+ first
          offset += 8
        }
      }
    }
  }

  static func bigEndian(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
    bytes.withUnsafeBytes {
      UInt32(bigEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }
  }

  /// Empty where the file cannot be read.
  static func bytes(of path: String, max: Int) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return [] }
    defer { close(descriptor) }
    let size = min(Int(lseek(descriptor, 0, SEEK_END)), max)
    guard size > 0 else { return [] }
    var bytes = [UInt8](repeating: 0, count: size)
    var filled = 0
    while filled < size {
      let count = bytes.withUnsafeMutableBytes {
        pread(descriptor, $0.baseAddress! + filled, size - filled, off_t(filled))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      filled += count
    }
    return Array(bytes[..<filled])
  }
}
