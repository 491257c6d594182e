/// Which numbers of one device have been seen: the highest, and of the 1,024 numbers up to it each one (like the window of
/// an idempotent producer). Of a number further below it cannot be told. Of the newest 128 the content is remembered too, as 32
/// bits of its hash, so that another event under a used number is found out.
///
/// A view of memory that the cache owns:
///
/// ```
/// | highest: UInt64 | seen: 16 x UInt64, bit n % 1,024 | contents: 128 x UInt32, at n % 128 |
/// ```
struct DeviceWindow {
  static let span: UInt64 = 1_024
  static let contentSpan: UInt64 = 128
  private static let wordCount = Int(span / 64)
  static let byteCount = 8 + wordCount * 8 + Int(contentSpan) * 4

  enum Verdict: Equatable, Sendable {
    case new
    /// Seen, with this content where that is still known.
    case duplicate
    /// Seen with another content.
    case conflict
    /// Too far below the highest to tell.
    case below
  }

  private let memory: UnsafeMutableRawPointer

  /// - Parameter memory: `byteCount` bytes, aligned to 8; all zero for a device that was never seen.
  init(memory: UnsafeMutableRawPointer) { self.memory = memory }

  private(set) var highest: UInt64 {
    get { memory.load(as: UInt64.self) }
    nonmutating set { memory.storeBytes(of: newValue, as: UInt64.self) }
  }

  private var seen: UnsafeMutablePointer<UInt64> {
    (memory + 8).assumingMemoryBound(to: UInt64.self)
  }

  private var contents: UnsafeMutablePointer<UInt32> {
    (memory + 8 + Self.wordCount * 8).assumingMemoryBound(to: UInt32.self)
  }

  /// What a number with this content is, without taking it in.
  func check(_ sequence: UInt64, content: UInt64) -> Verdict {
    precondition(sequence > 0, "numbers begin at 1")
    let highest = self.highest
    guard sequence <= highest else { return .new }
    let distance = highest - sequence
    guard distance < Self.span else { return .below }
    guard isSeen(sequence) else { return .new }
    guard distance < Self.contentSpan else { return .duplicate }
    let known = contents[Int(sequence % Self.contentSpan)]
    return known == UInt32(truncatingIfNeeded: content) ? .duplicate : .conflict
  }

  /// Takes a number in that `check` called new.
  func insert(_ sequence: UInt64, content: UInt64) {
    let highest = self.highest
    if sequence > highest {
      forget(from: highest + 1, to: sequence - 1)
      self.highest = sequence
    }
    let bit = Int(sequence % Self.span)
    seen[bit / 64] |= 1 << UInt64(bit % 64)
    if max(highest, sequence) - sequence < Self.contentSpan {
      contents[Int(sequence % Self.contentSpan)] = UInt32(truncatingIfNeeded: content)
    }
  }

  private func isSeen(_ sequence: UInt64) -> Bool {
    let bit = Int(sequence % Self.span)
    return seen[bit / 64] >> UInt64(bit % 64) & 1 == 1
  }

  /// Clears the places of numbers that were skipped; they still hold those of numbers 1,024 below.
  private func forget(from first: UInt64, to last: UInt64) {
    guard first <= last else { return }
    guard last - first < Self.span - 1 else {
      return seen.update(repeating: 0, count: Self.wordCount)
    }
    for sequence in first...last {
      let bit = Int(sequence % Self.span)
      seen[bit / 64] &= ~(1 << UInt64(bit % 64))
    }
  }

  // MARK: On disk

  /// How much of each part a window with this highest number can have touched.
  private static func extent(_ highest: UInt64) -> (words: Int, contents: Int) {
    (
      words: highest < span ? Int(highest / 64) + 1 : wordCount,
      contents: highest < contentSpan ? Int(highest) + 1 : Int(contentSpan)
    )
  }

  /// `highest`, then the touched parts, little-endian: 20 bytes for a new device, 648 at most.
  func encoded(into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    let extent = Self.extent(highest)
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: memory, count: 8))
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: seen, count: extent.words * 8))
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: contents, count: extent.contents * 4))
  }

  /// Fills a window from its stored bytes.
  ///
  /// - Returns: false where they are not the bytes of a window.
  func decode(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count >= 8 else { return false }
    let highest = bytes.loadUnaligned(as: UInt64.self)
    let extent = Self.extent(highest)
    guard bytes.count == 8 + extent.words * 8 + extent.contents * 4 else { return false }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
    self.highest = highest
    UnsafeMutableRawBufferPointer(start: seen, count: extent.words * 8)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[8..<8 + extent.words * 8]))
    UnsafeMutableRawBufferPointer(start: contents, count: extent.contents * 4)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[(8 + extent.words * 8)...]))
    return true
  }
}
