// libFuzzer over one of the entries. Usage: Fuzzer TARGET [ARGUMENT OF LIBFUZZER ...] [CORPUS FOLDER ...]

import FuzzEntries
import Glibc

/// libFuzzer's own main, which its library offers to programs that have one already.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>>,
  _ body: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// Chosen before libFuzzer starts and never changed.
// nonisolated(unsafe): written once, before the first input.
private nonisolated(unsafe) var target = FuzzTarget.timeout

@main
enum Fuzzer {
  static func main() {
    guard CommandLine.argc > 1, let chosen = FuzzTarget(rawValue: CommandLine.arguments[1]) else {
      print("Fuzzer: one of \(FuzzTarget.allCases.map(\.rawValue).joined(separator: " "))")
      exit(2)
    }
    target = chosen
    // The name of the target is not for libFuzzer.
    var count = CommandLine.argc - 1
    var arguments = CommandLine.unsafeArgv + 1
    arguments[0] = CommandLine.unsafeArgv[0]
    exit(
      runDriver(&count, &arguments) { bytes, count in
        target.run(UnsafeRawBufferPointer(start: bytes, count: count))
        return 0
      })
  }
}
