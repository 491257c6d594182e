/// Some columns of a segment as one BLOB: docs/formats/query.md, "Block". A row of the file for each column would leave half a
/// page of each unused, and a day has dozens of small ones.
enum ColumnBlock {
  typealias Column = (number: Int64, bytes: [UInt8])

  /// Columns in blocks of about the same size; a large one stands alone. Ascending, as the columns are.
  static func cut(_ columns: [Column]) -> [Column] {
    var blocks: [Column] = []
    var rest = columns.sorted { $0.number < $1.number }[...]
    while let first = rest.first {
      var bytes = 0
      let some = rest.prefix { column in
        bytes += column.bytes.count
        return column.number == first.number || bytes <= Limits.columnBlockBytes
      }
      blocks.append((first.number, encode(some)))
      rest = rest.dropFirst(some.count)
    }
    return blocks
  }

  static func encode(_ columns: some Collection<Column>) -> [UInt8] {
    var writer = ByteWriter(capacity: columns.reduce(4) { $0 + 12 + $1.bytes.count })
    writer.append(UInt32(columns.count))
    for column in columns {
      writer.append(UInt64(bitPattern: column.number))
      writer.append(UInt32(column.bytes.count))
    }
    for column in columns { column.bytes.withUnsafeBytes { writer.append($0) } }
    return writer.bytes
  }

  /// All columns of a block.
  static func columns(
    _ block: UnsafeRawBufferPointer
  ) throws(FormatError) -> [(number: Int64, bytes: UnsafeRawBufferPointer)] {
    var reader = ByteReader(block)
    let count = Int(try reader.uint32())
    guard count <= reader.remaining / 12 else { throw FormatError("a block of \(count) columns") }
    var directory: [(number: Int64, length: Int)] = []
    for _ in 0..<count {
      let number = Int64(bitPattern: try reader.uint64())
      directory.append((number, Int(try reader.uint32())))
    }
    var columns: [(number: Int64, bytes: UnsafeRawBufferPointer)] = []
    for entry in directory { columns.append((entry.number, try reader.take(entry.length))) }
    guard reader.isAtEnd else { throw FormatError("a block has \(reader.remaining) bytes too many") }
    return columns
  }

  /// The same block with each column compressed.
  static func compressed(_ block: [UInt8]) throws(FormatError) -> [UInt8] {
    let result = block.withUnsafeBytes { block in
      Result { () throws(FormatError) -> [UInt8] in
        encode(
          try columns(block).map {
            (number: $0.number, bytes: ColumnPacker.compressed(Array($0.bytes)))
          })
      }
    }
    return try result.get()
  }
}
