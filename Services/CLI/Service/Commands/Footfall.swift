package import ArgumentParser
import RPC

/// The command line of the suite.
package struct Footfall: AsyncParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "footfall",
    abstract: "Open, self-hosted analytics for mini programs.",
    discussion: """
      Tokens are read from a file (--token-file, FOOTFALL_TOKEN_FILE, or admin.token of the data folder), never from
      arguments. Exit codes: 0 done, 1 failed, 64 wrong call.
      """,
    subcommands: [
      AppCommand.self, TokenCommand.self, EventCommand.self, PlanCommand.self, SourceCommand.self,
      ImportCommand.self, SendCommand.self, QuarantineCommand.self, TrendCommand.self, FunnelCommand.self, ReportCommand.self,
      LiveCommand.self, LedgerCommand.self, ProfileCommand.self, PortraitCommand.self, HealthCommand.self,
      LogCommand.self, QueryCommand.self, DemoCommand.self,
    ])

  package init() {}

  /// Runs the command line and returns the exit code. An error is one line on standard error.
  package static func execute(_ arguments: [String]?) async -> Int32 {
    do {
      var command = try parseAsRoot(arguments)
      if var asynchronous = command as? any AsyncParsableCommand {
        try await asynchronous.run()
      } else {
        try command.run()
      }
      return 0
    } catch let failure as CommandFailure {
      Printer.note("footfall: \(failure.message)")
      return failure.exit.rawValue
    } catch let error as RPCError {
      Printer.note("footfall: \(describe(error))")
      return CommandFailure.Exit.failure.rawValue
    } catch let error as InputError {
      Printer.note("footfall: \(error)")
      return CommandFailure.Exit.failure.rawValue
    } catch let problem as LineProblem {
      Printer.note("footfall: \(problem.message)")
      return CommandFailure.Exit.usage.rawValue
    } catch {
      return report(error)
    }
  }

  /// With what led to a failed connection, and with the name by which the service's log knows a fault of its own.
  private static func describe(_ error: RPCError) -> String {
    var text = "\(error.code): \(error.message)"
    if error.delivery == .notSent, let cause = error.cause { text += ": \(cause)" }
    if [.internal, .unknown, .dataLoss].contains(error.code), let id = error.metadata[RequestID.header] {
      text += " (request \(id))"
    }
    return text
  }

  /// Errors and answers of the argument parser: help is an "error" of exit code 0.
  private static func report(_ error: any Error) -> Int32 {
    let code = exitCode(for: error).rawValue
    if code == 0 {
      Printer.line(fullMessage(for: error))
      return 0
    }
    let isUsage = exitCode(for: error) == .validationFailure
    let hint = isUsage ? " (footfall --help)" : ""
    let message = message(for: error).split(separator: "\n").joined(separator: " ")
    if !message.isEmpty { Printer.note("footfall: \(message)\(hint)") }
    return isUsage ? CommandFailure.Exit.usage.rawValue : code
  }
}
