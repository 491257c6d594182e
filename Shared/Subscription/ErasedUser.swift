internal import Crypto
internal import Messages

/// A user of whom everything before a record of the log is erased. The log names the user by a salted hash: who has the
/// open_id can tell that it is meant.
package struct ErasedUser: Sendable {
  package let app: DirectoryApp
  private let salt: [UInt8]
  private let hash: [UInt8]

  init(_ record: ProtoErasureRecord, app: DirectoryApp) {
    self.app = app
    salt = Array(record.salt)
    hash = Array(record.userHash)
  }

  /// Cost: one SHA-256 of a short text.
  package func matches(_ openID: UnsafeRawBufferPointer) -> Bool {
    var function = SHA256()
    function.update(data: salt)
    function.update(bufferPointer: openID)
    return function.finalize().elementsEqual(hash)
  }
}
