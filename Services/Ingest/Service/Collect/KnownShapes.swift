import Events

/// Events that came through before: of the same app, with the same name, and the same fields in their names, types and order. What
/// the steps `names` and `types` say of these holds for ever, and the number of their shape (`SeenShapes`) stays: such an event
/// is asked for the rest only. Compared byte by byte, so that nothing unknown is taken for known. One per reader.
///
/// A table of `Limits.knownShapesMax` places; who comes later takes the place. Cost: about 10 ns, and 3 ns for each field.
final class KnownShapes {
  /// A place: the app's number (0: free), the shape's, the lengths of the name and of the rest, then the name, and of each field
  /// its type, the length of its name, and that.
  private enum Place {
    static let bytes = 256
    static let shape = 8
    static let nameBytes = 12
    static let fieldCount = 13
    static let text = 16
    static let textBytes = bytes - text
  }

  private let places: UnsafeMutableRawPointer

  init() {
    let bytes = Limits.knownShapesMax * Place.bytes
    places = .allocate(byteCount: bytes, alignment: 64)
    places.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  deinit { places.deallocate() }

  /// The shape of an event that is like one before; nil: it is not known.
  @inline(__always)
  func shape(
    of event: BatchEvent, _ fields: UnsafeBufferPointer<BatchField>, in message: UnsafeRawBufferPointer,
    app: Int64
  ) -> UInt32? {
    let name = event.name.bytes(in: message)
    let place = place(name, fields.count, app)
    guard place.load(as: Int64.self) == app, place.load(fromByteOffset: Place.nameBytes, as: UInt8.self) == name.count,
      place.load(fromByteOffset: Place.fieldCount, as: UInt8.self) == event.fieldCount,
      Bytes.equal(place + Place.text, name)
    else { return nil }
    var text = UnsafeRawPointer(place + Place.text + name.count)
    for field in fields {
      let name = field.name.bytes(in: message)
      guard text.load(as: UInt8.self) == field.kind.rawValue,
        text.load(fromByteOffset: 1, as: UInt8.self) == name.count, Bytes.equal(text + 2, name)
      else { return nil }
      text += 2 + name.count
    }
    return place.load(fromByteOffset: Place.shape, as: UInt32.self)
  }

  /// From now on events like this one are known, where its names are not too long together.
  ///
  /// - Parameter event: its names obey the rules, and the types of all its fields are the app's.
  func remember(
    _ event: BatchEvent, _ fields: UnsafeBufferPointer<BatchField>, in message: UnsafeRawBufferPointer,
    app: Int64, shape: UInt32
  ) {
    let name = event.name.bytes(in: message)
    let length = fields.reduce(name.count) { $0 + 2 + Int($1.name.length) }
    guard app != 0, length <= Place.textBytes, fields.count == Int(event.fieldCount) else { return }
    let place = place(name, fields.count, app)
    place.storeBytes(of: app, as: Int64.self)
    place.storeBytes(of: shape, toByteOffset: Place.shape, as: UInt32.self)
    place.storeBytes(of: UInt8(name.count), toByteOffset: Place.nameBytes, as: UInt8.self)
    place.storeBytes(of: UInt8(fields.count), toByteOffset: Place.fieldCount, as: UInt8.self)
    var text = place + Place.text
    func put(_ bytes: UnsafeRawBufferPointer) {
      UnsafeMutableRawBufferPointer(start: text, count: bytes.count).copyMemory(from: bytes)
      text += bytes.count
    }
    put(name)
    for field in fields {
      text.storeBytes(of: field.kind.rawValue, as: UInt8.self)
      text.storeBytes(of: UInt8(field.name.length), toByteOffset: 1, as: UInt8.self)
      text += 2
      put(field.name.bytes(in: message))
    }
  }

  @inline(__always)
  private func place(
    _ name: UnsafeRawBufferPointer, _ fieldCount: Int, _ app: Int64
  ) -> UnsafeMutableRawPointer {
    let other = UInt64(truncatingIfNeeded: Int(truncatingIfNeeded: app) &<< 16 ^ fieldCount &<< 8 ^ name.count)
    let mixed = (Bytes.ends(name) ^ other) &* 0x9E37_79B9_7F4A_7C15
    let number = Int(truncatingIfNeeded: mixed &>> 40) & (Limits.knownShapesMax &- 1)
    return places + number &* Place.bytes
  }
}

/// Short runs of bytes, without a call.
private enum Bytes {
  /// Whether as many bytes as the right run has are the same.
  @inline(__always)
  static func equal(_ left: UnsafeRawPointer, _ right: UnsafeRawBufferPointer) -> Bool {
    let count = right.count
    guard let right = right.baseAddress, count > 0 else { return true }
    if count < 8 { return small(left, count) == small(right, count) }
    var index = 0
    while index &+ 8 < count {
      if word(left, index) != word(right, index) { return false }
      index &+= 8
    }
    // Overlaps the word before.
    return word(left, count &- 8) == word(right, count &- 8)
  }

  /// The first and the last bytes as one word.
  @inline(__always)
  static func ends(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return 0 }
    if bytes.count < 8 { return small(start, bytes.count) }
    return word(start, 0) ^ word(start, bytes.count &- 8) &<< 29 ^ word(start, bytes.count &- 8) &>> 35
  }

  /// All of 1 to 7 bytes in one word, some twice.
  @inline(__always)
  private static func small(_ start: UnsafeRawPointer, _ count: Int) -> UInt64 {
    if count >= 4 {
      return UInt64(start.loadUnaligned(as: UInt32.self))
        | UInt64(start.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)) &<< 32
    }
    return UInt64(start.load(as: UInt8.self))
      | UInt64(start.load(fromByteOffset: count &>> 1, as: UInt8.self)) &<< 8
      | UInt64(start.load(fromByteOffset: count &- 1, as: UInt8.self)) &<< 16
  }

  @inline(__always)
  private static func word(_ start: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    start.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
  }
}
