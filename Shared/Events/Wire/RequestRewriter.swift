/// A value to take out of an encoded `CollectRequest`.
package struct FieldRemoval: Sendable, Equatable {
  package enum Place: Sendable, Equatable {
    /// The n-th of the event's `fields`.
    case field(Int)
    case page
    /// Of the event's own context, or of the batch's.
    case context(ContextField)
  }

  /// Position in the request's events; nil: the batch's context.
  package let event: Int?
  package let place: Place

  package init(event: Int?, place: Place) {
    self.event = event
    self.place = place
  }
}

/// Writes an encoded `CollectRequest` anew without some of its values. Everything else stays byte for byte, unknown fields
/// included.
package enum RequestRewriter {
  /// - Parameter removals: of the events in their order.
  /// - Throws: where the message is not one that a `BatchReader` reads.
  package static func rewrite(
    _ message: UnsafeRawBufferPointer, removing removals: [FieldRemoval]
  ) throws(WireError) -> [UInt8] {
    guard let start = message.baseAddress, message.count > 0 else { return [] }
    var cursor = WireCursor(position: start, end: start + message.count, origin: start)
    var bytes: [UInt8] = []
    bytes.reserveCapacity(message.count)
    let ofBatch = removals.filter { $0.event == nil }
    var rest = removals.filter { $0.event != nil }[...]
    var event = 0
    while !cursor.isAtEnd {
      let begin = cursor.position
      let tag = try cursor.tag()
      if tag == 2 << 3 | 2, !ofBatch.isEmpty {
        append(tag, try context(cursor.nested(), without: ofBatch), to: &bytes)
      } else if tag == 3 << 3 | 2 {
        let own = rest.prefix { $0.event == event }
        rest = rest.dropFirst(own.count)
        event += 1
        if own.isEmpty {
          try cursor.skip(tag)
          copy(begin, cursor.position, to: &bytes)
        } else {
          append(tag, try self.event(cursor.nested(), without: own), to: &bytes)
        }
      } else {
        try cursor.skip(tag)
        copy(begin, cursor.position, to: &bytes)
      }
    }
    precondition(rest.isEmpty, "removals in the order of the events")
    return bytes
  }

  private static func event(
    _ message: WireCursor, without removals: ArraySlice<FieldRemoval>
  ) throws(WireError) -> [UInt8] {
    var cursor = message
    var bytes: [UInt8] = []
    let ofContext = removals.filter { if case .context = $0.place { true } else { false } }
    var field = 0
    while !cursor.isAtEnd {
      let begin = cursor.position
      let tag = try cursor.tag()
      if tag == 8 << 3 | 2, !ofContext.isEmpty {
        append(tag, try context(cursor.nested(), without: ofContext), to: &bytes)
        continue
      }
      try cursor.skip(tag)
      switch tag {
      case 6 << 3 | 2:
        defer { field += 1 }
        if removals.contains(where: { $0.place == .field(field) }) { continue }
      case 3 << 3 | 2:
        // Of a repeated singular field the last wins: all of them go.
        if removals.contains(where: { $0.place == .page }) { continue }
      default: break
      }
      copy(begin, cursor.position, to: &bytes)
    }
    return bytes
  }

  private static func context(
    _ message: WireCursor, without removals: [FieldRemoval]
  ) throws(WireError) -> [UInt8] {
    var cursor = message
    var bytes: [UInt8] = []
    while !cursor.isAtEnd {
      let begin = cursor.position
      let tag = try cursor.tag()
      try cursor.skip(tag)
      let isRemoved = removals.contains { removal in
        if case .context(let field) = removal.place { UInt32(field.rawValue) == tag >> 3 } else { false }
      }
      if !isRemoved { copy(begin, cursor.position, to: &bytes) }
    }
    return bytes
  }

  private static func copy(
    _ begin: UnsafeRawPointer, _ end: UnsafeRawPointer, to bytes: inout [UInt8]
  ) {
    bytes.append(contentsOf: UnsafeRawBufferPointer(start: begin, count: end - begin))
  }

  private static func append(_ tag: UInt32, _ nested: [UInt8], to bytes: inout [UInt8]) {
    appendVarint(UInt64(tag), to: &bytes)
    appendVarint(UInt64(nested.count), to: &bytes)
    bytes += nested
  }

  private static func appendVarint(_ value: UInt64, to bytes: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }
}
