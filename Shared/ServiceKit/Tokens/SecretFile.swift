#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A file that only its owner reads and that holds one secret and a line feed.
package enum SecretFile {
  package struct Problem: Error, CustomStringConvertible {
    package let description: String
  }

  static let bytesMax = 4_096

  /// Puts the file in place with mode 0600, whole and durable, or not at all; an older one is replaced.
  ///
  /// - Throws: `Problem` where it cannot be written.
  package static func write(_ path: String, secret: String) throws(Problem) {
    let temporary = "\(path).new"
    unlink(temporary)
    let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
    guard descriptor >= 0 else { throw failure("cannot create", temporary) }
    let bytes = Array("\(secret)\n".utf8)
    // So short a write to a new file is not cut by signals; a full disk shows as a lesser count.
    #if canImport(Glibc)
      let written = Glibc.write(descriptor, bytes, bytes.count)
    #else
      let written = Darwin.write(descriptor, bytes, bytes.count)
    #endif
    let synced = fsync(descriptor)
    let closed = close(descriptor)
    guard
      written == bytes.count, synced == 0, closed == 0, rename(temporary, path) == 0,
      syncFolder(of: path)
    else {
      let problem = failure("cannot write", path)
      unlink(temporary)
      throw problem
    }
  }

  /// - Throws: `Problem` where the file is missing, empty, too large, or readable by others.
  package static func read(_ path: String) throws(Problem) -> String {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("cannot open", path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failure("cannot read", path) }
    guard status.st_mode & 0o007 == 0 else {
      throw Problem(description: "\(path): readable by everybody: chmod 600 is wanted")
    }
    var buffer = [UInt8](repeating: 0, count: bytesMax + 1)
    let count = buffer.withUnsafeMutableBytes {
      #if canImport(Glibc)
        Glibc.read(descriptor, $0.baseAddress, $0.count)
      #else
        Darwin.read(descriptor, $0.baseAddress, $0.count)
      #endif
    }
    guard count >= 0 else { throw failure("cannot read", path) }
    guard count <= bytesMax else {
      throw Problem(description: "\(path): larger than the \(bytesMax) bytes of a secret")
    }
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    let secret = text.split(whereSeparator: \.isWhitespace)
    guard secret.count == 1 else {
      throw Problem(description: "\(path): one secret is wanted, found \(secret.count)")
    }
    return String(secret[0])
  }

  /// The new name is durable only with its folder.
  private static func syncFolder(of path: String) -> Bool {
    let end = path.lastIndex(of: "/")
    let folder = end.map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    let descriptor = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    return fsync(descriptor) == 0
  }

  private static func failure(_ action: String, _ path: String) -> Problem {
    Problem(description: "\(path): \(action): \(String(cString: strerror(errno)))")
  }
}
