import Crypto
import Foundation

/// How far an import has come, so that the next run goes on there.
///
/// It only saves work: rows that are sent again are recognised by their `event_id`. A run that goes on first sends the rows of
/// the last acknowledged chunk again; if the store does not know them (it was emptied, or is another one), the run begins at the
/// front.
package struct ImportState: Codable, Sendable, Equatable {
  package var version = 1
  /// What the state belongs to: file, app, address and mapping.
  package var fingerprint: String
  /// Rows whose chunk is acknowledged.
  package var rowsDone: Int
  /// Where the chunk before that began.
  package var checkFrom: Int
  /// As of `checkFrom`, because the run that goes on counts from there.
  package var reportAtCheck: ImportReport
  /// As of `rowsDone`.
  package var report: ImportReport

  package init(fingerprint: String) {
    self.fingerprint = fingerprint
    rowsDone = 0
    checkFrom = 0
    reportAtCheck = ImportReport()
    report = ImportReport()
  }

  package mutating func advance(to rows: Int, report: ImportReport) {
    precondition(rows >= rowsDone)
    checkFrom = rowsDone
    reportAtCheck = self.report
    rowsDone = rows
    self.report = report
  }
}

/// Keeps the state of one import in a file of a folder.
package struct ImportStateFile: Sendable {
  package let path: String
  private let fingerprint: String

  /// - Parameter identity: everything that makes this import this import.
  package init(folder: String, identity: [String]) {
    let digest = SHA256.hash(data: Array(identity.joined(separator: "\n").utf8))
    fingerprint = digest.map { byte in
      let text = String(byte, radix: 16)
      return text.count == 1 ? "0" + text : text
    }.joined()
    path = "\(folder)/import-\(fingerprint.prefix(16)).json"
  }

  package func fresh() -> ImportState { ImportState(fingerprint: fingerprint) }

  /// The stored state. nil where there is none; also where it cannot be read, because then the import just begins at the front.
  package func load() -> ImportState? {
    guard let data = FileManager.default.contents(atPath: path),
      let state = try? JSONDecoder().decode(ImportState.self, from: data),
      state.version == 1, state.fingerprint == fingerprint, state.checkFrom <= state.rowsDone
    else { return nil }
    return state
  }

  /// Replaces the file as a whole: a reader sees the old state or the new one.
  package func save(_ state: ImportState) throws {
    let folder = URL(fileURLWithPath: path).deletingLastPathComponent()
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try JSONEncoder().encode(state).write(to: URL(fileURLWithPath: path), options: .atomic)
  }

  /// The import is done. A file that cannot be removed is harmless: the next run checks it against the store.
  package func remove() { try? FileManager.default.removeItem(atPath: path) }
}
