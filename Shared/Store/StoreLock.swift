#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// Keeps other processes out of a file, by `flock` on a file beside it. The kernel lets go of it when the process ends,
/// however it ends. The lock file itself stays: removing it would let two processes lock two different files.
struct StoreLock: ~Copyable, Sendable {
  private let descriptor: Int32

  init(path: String) throws(StoreError) {
    let lockPath = path + ".lock"
    let descriptor = open(lockPath, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw StoreError(.cannotOpen, "\(lockPath): \(String(cString: strerror(errno)))")
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
      let reason = errno
      let holder = Self.holder(descriptor)
      close(descriptor)
      guard reason == EWOULDBLOCK else {
        throw StoreError(.io, "flock \(lockPath): \(String(cString: strerror(reason)))")
      }
      throw StoreError(.locked, "\(path) is in use by another process\(holder)")
    }
    let text = "\(getpid())\n"
    // Who holds the lock is a courtesy to the reader of an error: without it the lock holds all the same.
    _ = ftruncate(descriptor, 0)
    _ = text.withCString { pwrite(descriptor, $0, strlen($0), 0) }
    self.descriptor = descriptor
  }

  deinit {
    // Closing would do, were this the only descriptor: a process that another thread is just starting holds a copy between its
    // fork and its exec, and with it the lock. Unlocking ends it for all copies (flock(2)).
    _ = flock(descriptor, LOCK_UN)
    close(descriptor)
  }

  private static func holder(_ descriptor: Int32) -> String {
    var text = [UInt8](repeating: 0, count: 20)
    let count = pread(descriptor, &text, text.count, 0)
    let digits = text.prefix(max(count, 0)).prefix { (48...57).contains($0) }
    return digits.isEmpty ? "" : " (\(String(decoding: digits, as: UTF8.self)))"
  }
}

/// The database's file before SQLite knows it.
enum StoreFile {
  /// Makes the file where it is missing, for its owner only: it holds people's data and hashes of secrets. SQLite takes an
  /// empty file for a new database and gives its other files the same mode.
  static func make(_ path: String) throws(StoreError) {
    let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else {
      throw StoreError(.cannotOpen, "\(path): \(String(cString: strerror(errno)))")
    }
    close(descriptor)
  }
}
