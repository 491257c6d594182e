#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The files that one side of TLS takes its identity and its trust from. An empty path: none.
package struct TLSFiles: Sendable, Equatable {
  /// PEM: the certificate, then those that lead to its root.
  package var certificate: String
  /// PEM: the certificate's private key; only its owner and group may read it.
  package var key: String
  /// PEM: who may have signed the peer's certificate. On a server: clients must show one. On a client: empty means the
  /// system's authorities.
  package var authorities: String

  package init(certificate: String = "", key: String = "", authorities: String = "") {
    self.certificate = certificate
    self.key = key
    self.authorities = authorities
  }

  /// Nothing is larger in practice; what is, is not read.
  static let bytesMax = 1 << 20

  var all: [String] { [certificate, key, authorities].filter { !$0.isEmpty } }
}

/// Why TLS cannot be had from its files.
package struct TLSProblem: Error, CustomStringConvertible, Equatable {
  package let description: String
}

/// Tells whether a file is still the one that was read.
struct FileStamp: Equatable {
  let seconds: Int
  let nanoseconds: Int
  let bytes: Int
  let inode: UInt64

  /// A missing file has a stamp too, so that its coming is a change.
  init(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else {
      (seconds, nanoseconds, bytes, inode) = (0, 0, -1, 0)
      return
    }
    #if canImport(Glibc)
      let time = status.st_mtim
    #else
      let time = status.st_mtimespec
    #endif
    (seconds, nanoseconds) = (time.tv_sec, time.tv_nsec)
    (bytes, inode) = (Int(status.st_size), UInt64(status.st_ino))
  }
}

extension TLSFiles {
  /// The whole of a file.
  ///
  /// - Parameter isSecret: refuse it where everybody may read it.
  static func read(_ path: String, isSecret: Bool = false) throws(TLSProblem) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure("cannot open", path) }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failure("cannot read", path) }
    if isSecret, status.st_mode & 0o007 != 0 {
      throw TLSProblem(description: "\(path): the key is readable by everybody: chmod 600 is wanted")
    }
    guard status.st_size <= bytesMax else {
      throw TLSProblem(description: "\(path): \(status.st_size) bytes are more than the \(bytesMax) allowed")
    }
    return try readAll(descriptor, path)
  }

  private static func readAll(_ descriptor: Int32, _ path: String) throws(TLSProblem) -> [UInt8] {
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 16 * 1024)
    while bytes.count <= bytesMax {
      let count = piece.withUnsafeMutableBytes {
        #if canImport(Glibc)
          Glibc.read(descriptor, $0.baseAddress, $0.count)
        #else
          Darwin.read(descriptor, $0.baseAddress, $0.count)
        #endif
      }
      guard count >= 0 else { throw failure("cannot read", path) }
      if count == 0 { return bytes }
      bytes += piece[..<count]
    }
    throw TLSProblem(description: "\(path): more than the \(bytesMax) bytes allowed")
  }

  private static func failure(_ action: String, _ path: String) -> TLSProblem {
    TLSProblem(description: "\(path): \(action): \(String(cString: strerror(errno)))")
  }
}
