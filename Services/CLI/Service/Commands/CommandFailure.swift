/// Why a command ends without success: one line on standard error.
package struct CommandFailure: Error, Sendable {
  /// As in sysexits.h: 64 for a wrong call.
  package enum Exit: Int32, Sendable {
    case failure = 1
    case usage = 64
  }

  package let message: String
  package let exit: Exit

  package init(_ message: String, exit: Exit = .failure) {
    self.message = message
    self.exit = exit
  }

  package static func usage(_ message: String) -> CommandFailure {
    CommandFailure(message, exit: .usage)
  }
}
