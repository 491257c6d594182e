/// The rows of one commit as one block: docs/formats/query.md, "Row block".
enum RowBlock {
  static let version: UInt8 = 1

  static func encode(_ rows: RowBuffer) -> [UInt8] {
    var writer = ByteWriter()
    writer.append(version)
    writer.append(UInt8(ContextColumns.count))
    writer.appendBlock(ColumnCodec.encode(rows.user))
    writer.appendBlock(ColumnCodec.encode(rows.time))
    writer.appendBlock(ColumnCodec.encode(rows.sequence))
    writer.appendBlock(ColumnCodec.encode(rows.day))
    writer.appendBlock(ColumnCodec.encode(rows.event))
    writer.appendBlock(ColumnCodec.encode(rows.page))
    writer.appendBlock(ColumnCodec.encode(rows.context))
    writer.appendBlock(ColumnCodec.encode(rows.flags))
    writer.appendBlock(ColumnCodec.encode(rows.contexts.words))
    writer.appendBlock(ColumnCodec.encode(rows.fieldRow))
    writer.appendBlock(ColumnCodec.encode(rows.fieldID))
    writer.appendBlock(ColumnCodec.encode(rows.fieldValue))
    return writer.bytes
  }

  static func decode(_ block: UnsafeRawBufferPointer) throws(FormatError) -> RowBuffer {
    var reader = ByteReader(block)
    let version = try reader.uint8()
    guard version == Self.version else { throw FormatError("row block of version \(version)") }
    let width = Int(try reader.uint8())
    guard width <= ContextColumns.count else {
      throw FormatError("row block with \(width) context columns")
    }
    var rows = RowBuffer()
    rows.user = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.time = try ColumnCodec.decode(Int64.self, reader.block())
    rows.sequence = try ColumnCodec.decode(UInt64.self, reader.block())
    rows.day = try ColumnCodec.decode(Int32.self, reader.block())
    rows.event = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.page = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.context = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.flags = try ColumnCodec.decode(UInt8.self, reader.block())
    let words = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.fieldRow = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.fieldID = try ColumnCodec.decode(UInt32.self, reader.block())
    rows.fieldValue = try ColumnCodec.decode(UInt64.self, reader.block())
    rows.contexts = try contexts(ContextWords.widen(words, from: width))
    try check(rows)
    return rows
  }

  private static func contexts(_ words: [UInt32]) throws(FormatError) -> ContextSet {
    var set = ContextSet()
    var isDistinct = true
    words.withUnsafeBufferPointer { words in
      for begin in stride(from: 0, to: words.count, by: ContextColumns.count) {
        let count = set.count
        _ = set.number(UnsafeBufferPointer(rebasing: words[begin..<begin + ContextColumns.count]))
        isDistinct = isDistinct && set.count == count + 1
      }
    }
    guard isDistinct else { throw FormatError("row block with a context twice") }
    return set
  }

  private static func check(_ rows: RowBuffer) throws(FormatError) {
    let count = rows.count
    let lengths = [
      rows.time.count, rows.sequence.count, rows.day.count, rows.event.count, rows.page.count,
      rows.context.count, rows.flags.count,
    ]
    let fieldLengths = [rows.fieldID.count, rows.fieldValue.count]
    guard lengths.allSatisfy({ $0 == count }),
      fieldLengths.allSatisfy({ $0 == rows.fieldRow.count }),
      rows.context.allSatisfy({ Int($0) < rows.contexts.count }),
      rows.fieldRow.allSatisfy({ Int($0) < count })
    else { throw FormatError("row block whose columns do not fit together") }
  }
}

/// Contexts that an earlier release wrote with fewer columns.
enum ContextWords {
  /// The same contexts with the columns that this release knows: the new ones are missing (0).
  static func widen(_ words: [UInt32], from width: Int) throws(FormatError) -> [UInt32] {
    if width == ContextColumns.count, words.count % width == 0 { return words }
    guard width > 0, width < ContextColumns.count, words.count % width == 0 else {
      throw FormatError("\(words.count) context words of \(width) columns")
    }
    let missing = [UInt32](repeating: 0, count: ContextColumns.count - width)
    return stride(from: 0, to: words.count, by: width).flatMap { words[$0..<$0 + width] + missing }
  }
}
