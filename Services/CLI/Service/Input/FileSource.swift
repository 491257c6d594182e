#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

/// A file or standard input, read in order. Used by one task.
package final class FileSource {
  private let descriptor: Int32
  private let path: String
  /// Bytes of the file; nil for a pipe.
  package let size: Int?
  /// Bytes read so far.
  package private(set) var position = 0

  /// - Parameter path: `-` is standard input.
  package init(path: String) throws(InputError) {
    self.path = path
    descriptor = path == "-" ? 0 : open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw InputError("\(path): \(String(cString: strerror(errno)))")
    }
    var information = stat()
    guard fstat(descriptor, &information) == 0 else {
      let reason = String(cString: strerror(errno))
      if path != "-" { close(descriptor) }
      throw InputError("\(path): \(reason)")
    }
    let kind = information.st_mode & S_IFMT
    if kind == S_IFDIR {
      if path != "-" { close(descriptor) }
      throw InputError("\(path): is a directory")
    }
    size = kind == S_IFREG ? Int(information.st_size) : nil
  }

  deinit { if descriptor > 0 { close(descriptor) } }

  /// Appends at most `maximum` bytes. False at the end.
  package func read(_ maximum: Int, onto bytes: inout [UInt8]) throws(InputError) -> Bool {
    precondition(maximum > 0)
    let before = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: maximum))
    let count = bytes.withUnsafeMutableBytes { buffer -> Int in
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[before...])
      var count: Int
      repeat {
        count = posixRead(descriptor, target)
      } while count < 0 && errno == EINTR
      return count
    }
    let reason = errno
    bytes.removeLast(maximum - max(count, 0))
    guard count >= 0 else { throw InputError("\(path): \(String(cString: strerror(reason)))") }
    position += count
    return count > 0
  }
}

private func posixRead(_ descriptor: Int32, _ target: UnsafeMutableRawBufferPointer) -> Int {
  read(descriptor, target.baseAddress, target.count)
}
