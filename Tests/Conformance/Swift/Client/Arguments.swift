/// What InteropClient is told: `--case NAME --port N`, or `--load SECONDS --port N --next-port N`.
struct Arguments {
  var caseName: String?
  /// Load instead of a case, for this many seconds.
  var loadSeconds: Double?
  var host = "127.0.0.1"
  var port = 0
  /// Where calls go once the first server takes no more.
  var nextPort = 0
  /// Calls of a soak, and parallel ones of concurrent_large_unary.
  var iterations = 1_000
  /// Whether compressed cases ask first if the server looks at the flag of a message.
  var probes = true

  /// nil: not to be understood.
  init?(_ words: [String]) {
    var words = words[...]
    while let name = words.popFirst() {
      if name == "--no-probe" {
        probes = false
        continue
      }
      guard let value = words.popFirst(), set(name, value) else { return nil }
    }
    guard port > 0, (caseName == nil) != (loadSeconds == nil) else { return nil }
  }

  private mutating func set(_ name: String, _ value: String) -> Bool {
    switch name {
    case "--case": caseName = value
    case "--host": host = value
    case "--load": loadSeconds = Double(value)
    case "--port": port = Int(value) ?? 0
    case "--next-port": nextPort = Int(value) ?? 0
    case "--iterations": iterations = Int(value) ?? 0
    default: return false
    }
    return iterations > 0
  }
}
