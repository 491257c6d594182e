import Foundation
import Store

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A file that only its owner may read, written whole or not at all.
enum TokenFile {
  static func write(_ text: String, to path: String) throws {
    let temporary = path + ".new"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure(temporary) }
    let bytes = Array((text + "\n").utf8)
    let isWritten = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    let isSynced = fsync(descriptor)
    close(descriptor)
    guard isWritten == bytes.count, isSynced == 0, rename(temporary, path) == 0 else {
      let error = failure(path)
      unlink(temporary)
      throw error
    }
  }

  private static func failure(_ path: String) -> StoreError {
    StoreError(.io, "\(path): \(String(cString: strerror(errno)))")
  }
}
