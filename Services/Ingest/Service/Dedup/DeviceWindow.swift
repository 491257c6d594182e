/// Which numbers of one device have been seen: the highest, and of the 1,024 numbers up to it each one (like the window of
/// an idempotent producer). Of a number further below it cannot be told. Of the newest 128 the content is remembered too, as 32
/// bits of its hash, so that another event under a used number is found out.
///
/// A number that was not seen is missing, unless it is excused: its event came and was not kept, or it lies below the first
/// number that the device sent here. What becomes of missing numbers is counted (`SequenceFigures`).
///
/// A view of memory that the cache owns:
///
/// ```
/// | highest: UInt64 | seen: 16 x UInt64, bit n % 1,024 | contents: 128 x UInt32, at n % 128 |
/// | first: UInt64   | excused: 16 x UInt64, bit n % 1,024 |
/// ```
package struct DeviceWindow {
  package static let span: UInt64 = 1_024
  package static let contentSpan: UInt64 = 128
  private static let wordCount = Int(span / 64)
  private static let contentsOffset = 8 + wordCount * 8
  private static let firstOffset = contentsOffset + Int(contentSpan) * 4
  package static let byteCount = firstOffset + 8 + wordCount * 8

  package enum Verdict: Equatable, Sendable {
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
  package init(memory: UnsafeMutableRawPointer) { self.memory = memory }

  package private(set) var highest: UInt64 {
    get { memory.load(as: UInt64.self) }
    nonmutating set { memory.storeBytes(of: newValue, as: UInt64.self) }
  }

  private var seen: UnsafeMutablePointer<UInt64> {
    (memory + 8).assumingMemoryBound(to: UInt64.self)
  }

  private var contents: UnsafeMutablePointer<UInt32> {
    (memory + Self.contentsOffset).assumingMemoryBound(to: UInt32.self)
  }

  /// The first number that came while others below it are excused; 0 or out of date where none is.
  private var first: UInt64 {
    get { memory.load(fromByteOffset: Self.firstOffset, as: UInt64.self) }
    nonmutating set { memory.storeBytes(of: newValue, toByteOffset: Self.firstOffset, as: UInt64.self) }
  }

  /// Bits of numbers within the window that are not seen and not missing.
  private var excused: UnsafeMutablePointer<UInt64> {
    (memory + Self.firstOffset + 8).assumingMemoryBound(to: UInt64.self)
  }

  /// What a number with this content is, without taking it in.
  package func check(_ sequence: UInt64, content: UInt64) -> Verdict {
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

  /// Whether a seen number's content is known still, so that `check` tells a duplicate from a conflict.
  package func remembersContent(of sequence: UInt64) -> Bool {
    sequence <= highest && highest - sequence < Self.contentSpan
  }

  /// Takes a number in that `check` called new.
  ///
  /// - Parameter figures: what this says about missing numbers is added.
  package func insert(_ sequence: UInt64, content: UInt64, _ figures: inout SequenceFigures) {
    arrive(sequence, &figures)
    let (word, mask) = Self.place(sequence)
    if excused[word] & mask != 0 {
      excused[word] &= ~mask
      if sequence < first { figures.beforeFirstReceived += 1 }
    }
    seen[word] |= mask
    if highest - sequence < Self.contentSpan {
      contents[Int(sequence % Self.contentSpan)] = UInt32(truncatingIfNeeded: content)
    }
  }

  /// A number came whose event is not kept: it is not missing, and may still be taken in later.
  ///
  /// - Returns: false where nothing changed: the device is not known, or the number is known or too far away. A broken number
  ///   must not move the window beyond those that follow.
  package func excuse(_ sequence: UInt64, _ figures: inout SequenceFigures) -> Bool {
    let highest = self.highest
    guard highest > 0, sequence > 0, sequence < highest &+ Self.span, sequence + Self.span > highest
    else { return false }
    let (word, mask) = Self.place(sequence)
    if sequence <= highest, (seen[word] | excused[word]) & mask != 0 { return false }
    arrive(sequence, &figures)
    excused[word] |= mask
    return true
  }

  /// Moves the window up to a number where it lies above, or finds that it is not missing any more.
  private func arrive(_ sequence: UInt64, _ figures: inout SequenceFigures) {
    let highest = self.highest
    let (word, mask) = Self.place(sequence)
    guard sequence > highest else {
      if excused[word] & mask == 0 { figures.recovered += 1 }
      return
    }
    self.highest = sequence
    if highest == 0 { return begin(sequence, &figures) }
    if sequence == highest + 1 {
      // The place holds what is known of the number 1,024 below, which the window leaves behind.
      if (seen[word] | excused[word]) & mask == 0, sequence > Self.span { figures.lost += 1 }
      seen[word] &= ~mask
      excused[word] &= ~mask
      return
    }
    skip(from: highest, to: sequence, &figures)
  }

  /// The first number of a device: all below it are excused, those that still may come one by one.
  private func begin(_ sequence: UInt64, _ figures: inout SequenceFigures) {
    guard sequence > 1 else { return }
    figures.beforeFirst += sequence - 1
    first = sequence
    let lowest = sequence > Self.span ? sequence - Self.span + 1 : 1
    for number in lowest..<sequence {
      let (word, mask) = Self.place(number)
      excused[word] |= mask
    }
  }

  /// Moves the window over numbers that did not come.
  private func skip(from highest: UInt64, to sequence: UInt64, _ figures: inout SequenceFigures) {
    let skipped = sequence - highest - 1
    figures.missing += skipped
    if skipped >= Self.span {
      figures.lost += skipped - (Self.span - 1) + missing(of: min(highest, Self.span), upTo: highest)
      seen.update(repeating: 0, count: Self.wordCount)
      excused.update(repeating: 0, count: Self.wordCount)
      return
    }
    if sequence > Self.span {
      // What these places held lies 1,024 below.
      let lowest = max(highest + 1, Self.span + 1)
      figures.lost += missing(of: sequence - lowest + 1, upTo: sequence)
    }
    for number in highest + 1...sequence {
      let (word, mask) = Self.place(number)
      seen[word] &= ~mask
      excused[word] &= ~mask
    }
  }

  /// How many of the places of so many numbers are empty.
  private func missing(of count: UInt64, upTo last: UInt64) -> UInt64 {
    (0..<count).reduce(into: 0) { missing, back in
      let (word, mask) = Self.place(last - back)
      if (seen[word] | excused[word]) & mask == 0 { missing += 1 }
    }
  }

  private func isSeen(_ sequence: UInt64) -> Bool {
    let (word, mask) = Self.place(sequence)
    return seen[word] & mask != 0
  }

  @inline(__always)
  private static func place(_ sequence: UInt64) -> (word: Int, mask: UInt64) {
    let bit = sequence % span
    return (Int(bit / 64), 1 << (bit % 64))
  }

  // MARK: On disk

  static let encodedBytesMin = 8

  /// How much of each part a window with this highest number can have touched.
  private static func extent(_ highest: UInt64) -> (words: Int, contents: Int) {
    (
      words: highest < span ? Int(highest / 64) + 1 : wordCount,
      contents: highest < contentSpan ? Int(highest) + 1 : Int(contentSpan)
    )
  }

  /// `highest`, then the touched parts, little-endian: 20 bytes for a new device, 648 at most. Where numbers are excused,
  /// `first` and the touched words of these follow: 136 bytes more at most.
  package func encoded(into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    let extent = Self.extent(highest)
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: memory, count: 8))
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: seen, count: extent.words * 8))
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: contents, count: extent.contents * 4))
    guard (0..<extent.words).contains(where: { excused[$0] != 0 }) else { return }
    bytes.append(
      contentsOf: UnsafeRawBufferPointer(start: memory + Self.firstOffset, count: 8 + extent.words * 8))
  }

  /// Fills a window from its stored bytes.
  ///
  /// - Returns: false where they are not the bytes of a window.
  package func decode(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count >= Self.encodedBytesMin else { return false }
    let highest = bytes.loadUnaligned(as: UInt64.self)
    let extent = Self.extent(highest)
    let seenEnd = 8 + extent.words * 8
    let end = seenEnd + extent.contents * 4
    guard bytes.count == end || bytes.count == end + 8 + extent.words * 8 else { return false }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: Self.byteCount)
    self.highest = highest
    UnsafeMutableRawBufferPointer(start: seen, count: extent.words * 8)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[8..<seenEnd]))
    UnsafeMutableRawBufferPointer(start: contents, count: extent.contents * 4)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[seenEnd..<end]))
    UnsafeMutableRawBufferPointer(start: memory + Self.firstOffset, count: bytes.count - end)
      .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[end...]))
    return true
  }
}
