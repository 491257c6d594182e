internal import Logging
internal import RPC
internal import Synchronization

/// Puts into the log what callers must not see, and of calls and connections what its readers should: only so many lines a second.
final class CallLog: ServerObserver {
  /// Lines about faults in a burst, and then each second.
  static let faultsBurst = 50.0
  static let faultsPerSecond = 10.0
  /// Lines about connections that were ended, each second.
  static let endsPerSecond = 20.0

  private let logger: Logger
  private let faults = Mutex(LineBudget(burst: faultsBurst, perSecond: faultsPerSecond))
  private let ends = Mutex(LineBudget(burst: endsPerSecond, perSecond: endsPerSecond))

  init(logger: Logger) { self.logger = logger }

  func connectionEnded(_ peer: String, _ end: ConnectionEnd, detail: String) {
    guard let suppressed = ends.withLock({ $0.admit() }) else { return }
    var metadata: Logger.Metadata = ["peer": "\(PeerName.inLog(peer))", "cause": "\(end)"]
    if !detail.isEmpty { metadata["detail"] = "\(LogText.line(detail))" }
    if suppressed > 0 { metadata["suppressed"] = "\(suppressed)" }
    logger.warning("a connection was cut", metadata: metadata)
  }

  /// Puts into the log what callers must not see.
  func handlerFailed(_ method: MethodDescriptor, _ error: any Error, requestID: String) {
    guard let suppressed = faults.withLock({ $0.admit() }) else { return }
    var metadata: Logger.Metadata = [
      "method": "\(method)", "error": "\(LogText.line("\(error)"))", "request_id": "\(requestID)",
    ]
    if suppressed > 0 { metadata["suppressed"] = "\(suppressed)" }
    logger.error("a handler failed", metadata: metadata)
  }

  func callEnded(_ record: CallRecord) {
    var metadata: Logger.Metadata = [
      "method": "\(record.method?.path ?? "-")", "status": "\(record.status)",
      "microseconds": "\(record.nanoseconds / 1_000)", "request_bytes": "\(record.requestBytes)",
      "response_bytes": "\(record.responseBytes)", "peer": "\(PeerName.inLog(record.peer))",
      "token": "\(record.tokenID.isEmpty ? "-" : record.tokenID)", "app": "\(LogText.line(record.appID ?? "-"))",
      "request_id": "\(record.requestID)", "trace_id": "\(record.traceID)",
    ]
    guard record.isFault else { return logger.info("call", metadata: metadata) }
    guard let suppressed = faults.withLock({ $0.admit() }) else { return }
    if suppressed > 0 { metadata["suppressed"] = "\(suppressed)" }
    logger.error("call", metadata: metadata)
  }
}

/// How many lines of one kind a log takes: an attack must not fill the disk.
private struct LineBudget {
  let burst: Double
  let perSecond: Double
  private var room: Double
  private var seen: Int64 = 0
  private var suppressed = 0

  init(burst: Double, perSecond: Double) {
    self.burst = burst
    self.perSecond = perSecond
    room = burst
  }

  /// How many lines were left out before this one; nil: this one is too.
  mutating func admit() -> Int? {
    let now = MonotonicClock.now
    room = min(burst, room + Double(now - seen) / 1_000_000_000 * perSecond)
    seen = now
    guard room >= 1 else {
      suppressed += 1
      return nil
    }
    room -= 1
    defer { suppressed = 0 }
    return suppressed
  }
}

/// What the log calls a caller. The address of a person's device is personal data and does not stand in a log; what is needed
/// there is to tell one caller from another.
package enum PeerName {
  /// `p-3f2b8c1e0d5a7b96:4711`: the address under a hash whose key lives as long as the process, and the port as it is. This
  /// machine's own address is shown.
  package static func inLog(_ peer: String) -> String {
    guard let colon = peer.lastIndex(of: ":") else { return LogText.line(peer) }
    let address = peer[..<colon]
    if address == "127.0.0.1" || address == "::1" { return LogText.line(peer) }
    // Swift's hash is SipHash under a key that is random in each process.
    let digits = String(UInt(bitPattern: address.hashValue), radix: 16)
    let hash = String(repeating: "0", count: max(16 - digits.count, 0)) + digits
    return "p-\(hash)\(LogText.line(String(peer[colon...])))"
  }
}

/// Texts of strangers as a log may hold them.
package enum LogText {
  package static let bytesMax = 2_048

  /// One line of printable ASCII: anything else, quotes and backslashes are written as escapes; what is too long is cut.
  package static func line(_ text: String) -> String {
    var line = ""
    for scalar in text.unicodeScalars {
      if line.utf8.count >= bytesMax { return line + "..." }
      switch scalar {
      case "\"", "\\": line += "\\\(scalar)"
      case " "..."~": line.unicodeScalars.append(scalar)
      default: line += "\\u{\(String(scalar.value, radix: 16))}"
      }
    }
    return line
  }
}
