/// The bytes of a file, unpacked where they are gzip, with those in front that nobody has taken yet.
package final class LineBuffer {
  private let file: FileSource
  private var inflater: GzipInflater?
  private var packed: [UInt8] = []
  private var isAtEnd = false
  private var bytes: [UInt8] = []
  private var start = 0

  package init(_ file: FileSource) throws(InputError) {
    self.file = file
    // A pipe may give a single byte at first.
    while bytes.count < 3 {
      guard try file.read(InputLimits.readBytes, onto: &bytes) else {
        isAtEnd = true
        break
      }
    }
    if bytes.starts(with: GzipInflater.magic) {
      let inflater = try GzipInflater()
      self.inflater = inflater
      packed = bytes
      bytes = []
      try inflater.unpack(packed, onto: &bytes)
    }
    while bytes.count < 3, try fill() {}
    // The mark that some programs put before UTF-8.
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { start = 3 }
  }

  /// What has been read and not been taken.
  package var unread: ArraySlice<UInt8> { bytes[start...] }

  /// Whether nothing follows `unread`.
  package var isComplete: Bool { isAtEnd }

  /// Share of the file that has been read, 0-1; nil for a pipe.
  package var progress: Double? {
    file.size.map { $0 == 0 ? 1 : min(1, Double(file.position) / Double($0)) }
  }

  package func take(_ count: Int) {
    precondition(count <= bytes.count - start)
    start += count
  }

  /// Reads on. False at the end of the file.
  package func fill() throws(InputError) -> Bool {
    guard !isAtEnd else { return false }
    if start > 0 {
      bytes.removeFirst(start)
      start = 0
    }
    guard let inflater else {
      isAtEnd = try !file.read(InputLimits.readBytes, onto: &bytes)
      return !isAtEnd
    }
    packed.removeAll(keepingCapacity: true)
    // Little at a time: a byte may unpack to a thousand.
    guard try file.read(16_384, onto: &packed) else {
      isAtEnd = true
      if inflater.isInsideMember { throw InputError("gzip: the file ends too early") }
      return false
    }
    try inflater.unpack(packed, onto: &bytes)
    return true
  }
}
