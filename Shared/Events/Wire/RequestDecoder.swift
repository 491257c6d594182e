/// The decoder's loops, one for each message of ingest.proto. A case is `number << 3 | wire type`; whatever is not a case
/// is an unknown field.
enum RequestDecoder {
  static func decode(
    _ cursor: inout WireCursor, into arena: inout BatchArena, head: inout BatchReader.Head
  ) throws(WireError) {
    while !cursor.isAtEnd {
      let start = cursor.offset
      let tag = try cursor.tag()
      switch tag {
      case 1 << 3 | 2:
        head.appID = try cursor.slice()
        if !isUTF8(head.appID, cursor) { head.appIDIsBad = true }
      case 2 << 3 | 2:
        try decodeContext(cursor.nested(), number: 0, into: &arena)
      case 3 << 3 | 2:
        head.eventCount += 1
        if head.eventCount > EventLimits.eventsPerBatchMax {
          try cursor.skip(tag)
        } else {
          let inner = try cursor.nested()
          let encoded = ByteSlice(offset: start, length: cursor.offset &- start)
          try decodeEvent(inner, encoded: encoded, into: &arena)
        }
      case 4 << 3 | 0:
        head.sentMilliseconds = Int64(bitPattern: try cursor.varint())
      case 5 << 3 | 2:
        head.deviceID = try cursor.slice()
        if !isUTF8(head.deviceID, cursor) { head.deviceIDIsBad = true }
      case 6 << 3 | 0:
        head.isImport = try cursor.varint() != 0
      case 7 << 3 | 0:
        head.batch = try cursor.varint()
      default:
        try cursor.skip(tag)
      }
    }
  }

  private static func decodeEvent(
    _ message: WireCursor, encoded: ByteSlice, into arena: inout BatchArena
  ) throws(WireError) {
    var cursor = message
    var event = BatchEvent()
    event.encoded = encoded
    event.firstField = UInt32(truncatingIfNeeded: arena.fields.count)
    while !cursor.isAtEnd {
      let tag = try cursor.tag()
      switch tag {
      case 1 << 3 | 2:
        event.name = try cursor.slice()
        if !isUTF8(event.name, cursor) { event.note(.name) }
      case 2 << 3 | 0:
        event.timeMilliseconds = Int64(bitPattern: try cursor.varint())
      case 3 << 3 | 2:
        event.pagePath = try cursor.slice()
        if !isUTF8(event.pagePath, cursor) { event.note(.pagePath) }
      case 4 << 3 | 0:
        event.sequence = try cursor.varint()
      case 5 << 3 | 2:
        event.eventID = try cursor.slice()
        if !isUTF8(event.eventID, cursor) { event.note(.eventID) }
      case 6 << 3 | 2:
        try decodeField(cursor.nested(), of: &event, into: &arena)
      case 7 << 3 | 0:
        event.isPassive = try cursor.varint() != 0
      case 8 << 3 | 2:
        let inner = try cursor.nested()
        if event.ownContext == 0 { event.ownContext = UInt32(arena.addContext()) }
        try decodeContext(inner, number: Int(event.ownContext), into: &arena)
      default:
        try cursor.skip(tag)
      }
    }
    arena.events.append(event)
  }

  @inline(__always)
  private static func decodeField(
    _ message: WireCursor, of event: inout BatchEvent, into arena: inout BatchArena
  ) throws(WireError) {
    var cursor = message
    var field = BatchField()
    while !cursor.isAtEnd {
      let tag = try cursor.tag()
      switch tag {
      case 1 << 3 | 2:
        field.name = try cursor.slice()
        if !isUTF8(field.name, cursor) { event.note(.fieldName, field: event.fieldCount) }
      case 2 << 3 | 2:
        let isGood = try decodeValue(cursor.nested(), into: &field)
        if !isGood { event.note(.fieldValue, field: event.fieldCount) }
      default:
        try cursor.skip(tag)
      }
    }
    if event.fieldCount < EventLimits.fieldsPerEventMax { arena.fields.append(field) }
    event.fieldCount &+= 1
  }

  /// The last member of the oneof wins. Returns whether every text was UTF-8.
  @inline(__always)
  private static func decodeValue(
    _ message: WireCursor, into field: inout BatchField
  ) throws(WireError) -> Bool {
    var cursor = message
    var isGood = true
    while !cursor.isAtEnd {
      let tag = try cursor.tag()
      switch tag {
      case 1 << 3 | 2:
        let text = try cursor.slice()
        isGood = isGood && isUTF8(text, cursor)
        (field.kind, field.bits) = (.text, text.word)
      case 2 << 3 | 0:
        (field.kind, field.bits) = (.integer, try cursor.varint())
      case 3 << 3 | 1:
        (field.kind, field.bits) = (.double, try cursor.fixed64())
      case 4 << 3 | 0:
        (field.kind, field.bits) = (.boolean, try cursor.varint() != 0 ? 1 : 0)
      default:
        try cursor.skip(tag)
      }
    }
    return isGood
  }

  private static func decodeContext(
    _ message: WireCursor, number context: Int, into arena: inout BatchArena
  ) throws(WireError) {
    var cursor = message
    // Nothing below adds a context, so the words stay where they are.
    let words = arena.words(context)
    while !cursor.isAtEnd {
      let tag = try cursor.tag()
      let number = Int(tag >> 3)
      let isInteger = number < 31 && ContextField.integerNumbers >> UInt64(number) & 1 == 1
      if number <= 31 && !isInteger && tag & 7 == 2 {
        if number == BatchContext.experimentsWord {
          try decodeExperiment(cursor.nested(), of: context, into: &arena)
        } else {
          let text = try cursor.slice()
          words[number] = text.word
          if !isUTF8(text, cursor) { note(number, in: words) }
        }
      } else if isInteger && tag & 7 == 0 {
        // An int32 or an enum: the upper half is dropped.
        let value = Int32(truncatingIfNeeded: try cursor.varint())
        words[number] = UInt64(bitPattern: Int64(value))
      } else {
        try cursor.skip(tag)
      }
    }
  }

  private static func decodeExperiment(
    _ message: WireCursor, of context: Int, into arena: inout BatchArena
  ) throws(WireError) {
    var cursor = message
    var name = ByteSlice.empty
    var variant = ByteSlice.empty
    var isGood = true
    while !cursor.isAtEnd {
      let tag = try cursor.tag()
      switch tag {
      case 1 << 3 | 2:
        name = try cursor.slice()
        isGood = isGood && isUTF8(name, cursor)
      case 2 << 3 | 2:
        variant = try cursor.slice()
        isGood = isGood && isUTF8(variant, cursor)
      default:
        try cursor.skip(tag)
      }
    }
    if !isGood { note(BatchContext.experimentsWord, in: arena.words(context)) }
    arena.setExperiment(
      BatchExperiment(name: name, variant: variant), of: context, origin: cursor.origin)
  }

  private static func note(_ number: Int, in words: UnsafeMutablePointer<UInt64>) {
    if words[BatchContext.badTextWord] == 0 { words[BatchContext.badTextWord] = UInt64(number) }
  }

  @inline(__always)
  private static func isUTF8(_ slice: ByteSlice, _ cursor: WireCursor) -> Bool {
    UTF8Validation.isValid(cursor.origin + Int(slice.offset), count: Int(slice.length))
  }
}

extension BatchEvent {
  /// Remembers the first text that is not UTF-8.
  mutating func note(_ place: BadText, field: UInt32 = 0) {
    guard badText == .none else { return }
    badText = place
    badTextField = UInt8(truncatingIfNeeded: min(field, 255))
  }
}
