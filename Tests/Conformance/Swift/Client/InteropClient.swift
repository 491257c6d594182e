// The client of Tests/Conformance: gRPC's interop cases on our transport.

import Glibc

@main
struct InteropClient {
  /// Runs one case: exit status 0 where it passed, 1 and the reason where not.
  static func main() async {
    guard let arguments = Arguments(Array(CommandLine.arguments.dropFirst())) else {
      print(
        "usage: InteropClient --case NAME --port N [--host HOST] [--iterations N] [--no-probe]\n"
          + "       InteropClient --load SECONDS --port N --next-port N")
      exit(2)
    }
    guard let name = arguments.caseName else { return await Load(arguments).run() }
    guard let run = Cases.all[name] else {
      print("no case \(name)")
      exit(2)
    }
    do {
      try await run(Cases(arguments))
    } catch {
      print("\(error)")
      exit(1)
    }
  }
}
