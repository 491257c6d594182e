internal import Foundation
internal import Synchronization

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// A program that a test starts, kills and starts again. Its output goes to a file. Killed with its owner.
package final class ChildProcess: Sendable {
  package struct Failure: Error, CustomStringConvertible {
    package let description: String
  }

  package let program: String
  package let outputPath: String
  private let arguments: [String]
  /// nil: not running.
  private let pid = Mutex<pid_t?>(nil)

  /// - Parameters:
  ///   - program: a path.
  ///   - outputPath: standard output and standard error are appended to it.
  package init(program: String, arguments: [String], outputPath: String) {
    self.program = program
    self.arguments = arguments
    self.outputPath = outputPath
  }

  deinit { kill() }

  /// What it wrote so far, of all its lives.
  package var output: String { (try? String(contentsOfFile: outputPath, encoding: .utf8)) ?? "" }

  package var isRunning: Bool {
    pid.withLock { pid in
      guard let id = pid else { return false }
      var status: Int32 = 0
      guard waitpid(id, &status, WNOHANG) == id else { return true }
      pid = nil
      return false
    }
  }

  package func start() throws {
    try pid.withLock { pid in
      precondition(pid == nil, "\(program) runs already")
      pid = try spawn()
    }
  }

  private func spawn() throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(
      &actions, 1, outputPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
    posix_spawn_file_actions_adddup2(&actions, 1, 2)
    // Settings of whoever runs the tests must not reach the suite under test.
    let variables = ProcessInfo.processInfo.environment.filter { !$0.key.hasPrefix("FOOTFALL_") }
    var arguments = ([program] + self.arguments).map { strdup($0) } + [nil]
    var environment = variables.map { strdup("\($0.key)=\($0.value)") } + [nil]
    defer { for text in arguments + environment { free(text) } }
    var id: pid_t = 0
    let code = posix_spawn(&id, program, &actions, nil, &arguments, &environment)
    guard code == 0 else {
      throw Failure(description: "\(program): cannot start: \(String(cString: strerror(code)))")
    }
    return id
  }

  /// SIGKILL, and waits for the end. Nothing where it does not run.
  package func kill() {
    pid.withLock { pid in
      guard let id = pid else { return }
      sendSignal(id, SIGKILL)
      var status: Int32 = 0
      waitpid(id, &status, 0)
      pid = nil
    }
  }

  /// SIGTERM, and waits for the end.
  ///
  /// - Returns: the exit status; 128 + n where signal n ended it.
  package func terminate(timeoutMilliseconds: Int = 15_000) async throws -> Int32 {
    guard let id = pid.withLock({ $0 }) else {
      throw Failure(description: "\(program): does not run")
    }
    sendSignal(id, SIGTERM)
    for _ in 0..<timeoutMilliseconds / 10 {
      var status: Int32 = 0
      if waitpid(id, &status, WNOHANG) == id {
        pid.withLock { $0 = nil }
        return status & 0x7f == 0 ? status >> 8 & 0xff : 128 + status & 0x7f
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Failure(description: "\(program): runs \(timeoutMilliseconds) ms after SIGTERM\n\(output.suffix(2_000))")
  }

  private func sendSignal(_ id: pid_t, _ signal: Int32) {
    #if canImport(Glibc)
      _ = Glibc.kill(id, signal)
    #else
      _ = Darwin.kill(id, signal)
    #endif
  }

  /// Waits until its output since the call of `start` holds a text.
  ///
  /// - Parameter from: bytes of earlier output to pass over.
  package func waitForOutput(_ text: String, from: Int, timeoutMilliseconds: Int) async throws {
    for _ in 0..<timeoutMilliseconds / 10 {
      if String(decoding: output.utf8.dropFirst(from), as: UTF8.self).contains(text) { return }
      guard isRunning else {
        throw Failure(description: "\(program): ended\n\(output.suffix(2_000))")
      }
      try await Task.sleep(for: .milliseconds(10))
    }
    throw Failure(
      description: "\(program): no \"\(text)\" in \(timeoutMilliseconds) ms\n\(output.suffix(2_000))")
  }
}
