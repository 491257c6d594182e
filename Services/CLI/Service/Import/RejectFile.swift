import Foundation

/// The refused rows of an import as NDJSON: `{"line":7,"reason":"bad_time","field":"time","message":"...","row":"..."}`.
package final class RejectFile {
  private let handle: FileHandle

  /// - Parameter isContinued: goes on behind what an earlier run has written.
  package init(path: String, isContinued: Bool) throws(InputError) {
    if !isContinued || !FileManager.default.fileExists(atPath: path) {
      guard FileManager.default.createFile(atPath: path, contents: nil) else {
        throw InputError("--rejects: \(path) cannot be written")
      }
    }
    guard let handle = FileHandle(forWritingAtPath: path) else {
      throw InputError("--rejects: \(path) cannot be written")
    }
    self.handle = handle
    do {
      try handle.seekToEnd()
    } catch {
      throw InputError("--rejects: \(path): \(error)")
    }
  }

  deinit { try? handle.close() }

  package func write(_ row: RowProblem) throws {
    var line = "{\"line\":\(row.line),\"reason\":\(JSONText.quoted(row.problem.reason))"
    line += ",\"field\":\(JSONText.quoted(row.problem.field))"
    line += ",\"message\":\(JSONText.quoted(row.problem.message))"
    line += ",\"row\":\(JSONText.quoted(String(decoding: row.row, as: UTF8.self)))}\n"
    try handle.write(contentsOf: Data(line.utf8))
  }
}
