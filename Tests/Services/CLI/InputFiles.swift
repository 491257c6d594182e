import CLI
import CZlib
import Foundation

/// A folder for the files of one test, removed with it.
final class TemporaryFolder {
  let path: String

  init() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "footfall-cli-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    path = url.path
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func write(_ bytes: [UInt8], name: String = "input") throws -> String {
    let file = "\(path)/\(name)"
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    return file
  }

  func reader(_ text: String, delimiter: UInt8 = UInt8(ascii: ",")) throws -> CSVReader {
    try CSVReader(
      LineBuffer(FileSource(path: write(Array(text.utf8)))), delimiter: delimiter)
  }
}

/// The rows of a reader, with their problems.
func rows(of reader: any RowReader) throws -> [SourceRow] {
  var rows: [SourceRow] = []
  while let row = try reader.next() { rows.append(row) }
  return rows
}

extension SourceRow {
  /// The values as text, or the reason why there are none.
  var texts: [String] {
    switch content {
    case .success(let cells): cells.map(\.value.text)
    case .failure(let problem): ["!" + problem.reason]
    }
  }
}

/// One gzip member.
func gzip(_ bytes: [UInt8]) -> [UInt8] {
  var stream = z_stream()
  guard
    deflateInit2_(
      &stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
      Int32(MemoryLayout<z_stream>.size)) == Z_OK
  else { return [] }
  var input = bytes
  var output = [UInt8](repeating: 0, count: Int(deflateBound(&stream, UInt(bytes.count))) + 64)
  let count = input.withUnsafeMutableBufferPointer { source in
    output.withUnsafeMutableBufferPointer { target in
      stream.next_in = source.baseAddress
      stream.avail_in = UInt32(source.count)
      stream.next_out = target.baseAddress
      stream.avail_out = UInt32(target.count)
      deflate(&stream, Z_FINISH)
      return Int(stream.total_out)
    }
  }
  deflateEnd(&stream)
  return Array(output.prefix(count))
}
