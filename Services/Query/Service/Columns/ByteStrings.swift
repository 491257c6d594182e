/// Strings of bytes by their number, from 0 on. They lie in pieces: one more string moves none of those of the pieces before, and a
/// piece whose strings are all of one length, as open_ids are, keeps nothing beside their bytes.
struct ByteStrings: Sendable {
  private static let pieceBits = 15
  private static let pieceStrings = 1 << pieceBits

  private struct Piece: Sendable {
    var bytes: [UInt8] = []
    /// Of all its strings, where `ends` is empty.
    let width: Int
    /// Where each string ends, from the first one on that is of another length.
    var ends: [UInt32] = []

    @inline(__always)
    func range(_ place: Int) -> Range<Int> {
      if ends.isEmpty { return place &* width..<(place &+ 1) &* width }
      return (place == 0 ? 0 : Int(ends[place - 1]))..<Int(ends[place])
    }

    mutating func append(_ string: UnsafeRawBufferPointer, at place: Int) {
      if string.count != width { makeEnds(place) }
      bytes.append(contentsOf: string)
      if !ends.isEmpty { ends.append(end(bytes.count)) }
    }

    mutating func makeEnds(_ count: Int) {
      guard ends.isEmpty else { return }
      ends = (0..<count).map { end(($0 + 1) * width) }
    }

    /// Gives back what it has of memory beside its strings.
    mutating func trim() {
      bytes = [UInt8](unsafeUninitializedCapacity: bytes.count) { target, filled in
        filled = target.initialize(fromContentsOf: bytes)
      }
    }

    private func end(_ bytes: Int) -> UInt32 {
      precondition(bytes <= UInt32.max, "\(ByteStrings.pieceStrings) strings of at most 4 GiB")
      return UInt32(bytes)
    }
  }

  private var pieces: [Piece] = []
  private(set) var count = 0

  /// Bytes of memory, about.
  var byteCount: Int { pieces.reduce(0) { $0 + $1.bytes.capacity + $1.ends.capacity * 4 } }

  mutating func append(_ string: UnsafeRawBufferPointer) {
    let place = beginString(width: string.count)
    pieces[pieces.count - 1].append(string, at: place)
    count += 1
  }

  /// Adds strings of one length: the first byte of all, then the second ones.
  mutating func append(planes: [UInt8], width: Int) {
    let added = planes.count / width
    var first = 0
    while first < added {
      let place = beginString(width: width)
      let some = min(added - first, Self.pieceStrings - place)
      Self.append(planes, first..<first + some, of: added, width, to: &pieces[pieces.count - 1], at: place)
      count += some
      first += some
    }
  }

  /// - Returns: the place of the next string in the last piece.
  private mutating func beginString(width: Int) -> Int {
    let place = count & (Self.pieceStrings - 1)
    if place > 0 { return place }
    // The one that is full keeps no room for more.
    if let last = pieces.indices.last { pieces[last].trim() }
    pieces.append(Piece(width: width))
    return 0
  }

  private static func append(
    _ planes: [UInt8], _ strings: Range<Int>, of all: Int, _ width: Int, to piece: inout Piece, at place: Int
  ) {
    if width != piece.width { piece.makeEnds(place) }
    let start = piece.bytes.count
    piece.bytes.append(contentsOf: repeatElement(0, count: strings.count * width))
    piece.bytes.withUnsafeMutableBufferPointer { target in
      planes.withUnsafeBufferPointer { planes in
        // A few strings at a time: they stay in the cache while their bytes are filled in.
        for first in stride(from: strings.lowerBound, to: strings.upperBound, by: 64) {
          let last = min(first + 64, strings.upperBound)
          for byte in 0..<width {
            var to = start &+ (first &- strings.lowerBound) &* width &+ byte
            for string in first..<last {
              target[to] = planes[byte &* all &+ string]
              to &+= width
            }
          }
        }
      }
    }
    if !piece.ends.isEmpty {
      for string in 1...strings.count { piece.ends.append(UInt32(start + string * width)) }
    }
  }

  /// Precondition: there is such a string.
  @inline(__always)
  func withBytes<T>(_ number: Int, _ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
    precondition(holds(number), "a code of another dictionary")
    return try pieces.withUnsafeBufferPointer { pieces in
      let piece = number >> Self.pieceBits
      let range = pieces[piece].range(number & (Self.pieceStrings - 1))
      return try pieces[piece].bytes.withUnsafeBytes {
        try body(UnsafeRawBufferPointer(rebasing: $0[range]))
      }
    }
  }

  func holds(_ number: Int) -> Bool { (0..<count).contains(number) }

  func isEmpty(_ number: Int) -> Bool {
    pieces[number >> Self.pieceBits].range(number & (Self.pieceStrings - 1)).isEmpty
  }

  /// Puts nothing in the place of strings; the others keep their numbers. Cost: linear in the pieces that hold one of them.
  mutating func erase(_ numbers: some Sequence<Int>) {
    let byPiece = Dictionary(grouping: numbers) { $0 >> Self.pieceBits }
    for (piece, numbers) in byPiece {
      let erased = Set(numbers)
      var left = ByteStrings()
      let first = piece << Self.pieceBits
      for number in first..<min(first + Self.pieceStrings, count) {
        if erased.contains(number) {
          left.append(UnsafeRawBufferPointer(start: nil, count: 0))
        } else {
          withBytes(number) { left.append($0) }
        }
      }
      pieces[piece] = left.pieces[0]
    }
  }
}
