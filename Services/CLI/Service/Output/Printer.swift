#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif
package import SwiftProtobuf

/// Writes to the terminal.
package enum Printer {
  /// To standard output, without a line end of its own.
  package static func write(_ text: String) { put(text, 1) }

  /// A line to standard output.
  package static func line(_ text: String) { put(text + "\n", 1) }

  /// A line to standard error.
  package static func note(_ text: String) { put(text + "\n", 2) }

  /// To standard error, without a line end.
  package static func status(_ text: String) { put(text, 2) }

  package static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

  /// A message as one line of JSON under the names of its proto file.
  package static func json(_ message: some Message) throws {
    line(try jsonText(message))
  }

  package static func jsonText(_ message: some Message) throws -> String {
    var options = JSONEncodingOptions()
    options.preserveProtoFieldNames = true
    options.alwaysPrintInt64sAsNumbers = true
    return try message.jsonString(options: options)
  }

  private static func put(_ text: String, _ descriptor: Int32) {
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { posixWrite(descriptor, $0) }
      if count < 0 && errno == EINTR { continue }
      // Nobody reads any more: there is nobody to tell either.
      if count <= 0 { return }
      bytes = bytes.dropFirst(count)
    }
  }
}

private func posixWrite(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
  write(descriptor, bytes.baseAddress, bytes.count)
}
