import RPC

/// A bar on the terminal, drawn at most ten times a second.
package struct ProgressBar {
  private static let width = 30
  private let isShown: Bool
  private let begin = MonotonicClock.now
  private var drawn: Int64 = 0

  package init(isShown: Bool) { self.isShown = isShown }

  /// - Parameter share: 0-1; nil where the end is not known.
  package mutating func show(rows: Int, share: Double?) {
    guard isShown else { return }
    let now = MonotonicClock.now
    guard now - drawn > 100_000_000 else { return }
    drawn = now
    Printer.status("\r" + Self.text(rows: rows, share: share, nanoseconds: now - begin) + "\u{1b}[K")
  }

  /// Clears the line.
  package func finish() {
    if isShown && drawn > 0 { Printer.status("\r\u{1b}[K") }
  }

  /// `[#########.....................]  31 %  16,180 rows  12,345/s  3.0 s left`
  package static func text(rows: Int, share: Double?, nanoseconds: Int64) -> String {
    let seconds = max(Double(nanoseconds) / 1e9, 0.001)
    var text = "\(NumberText.grouped(rows)) rows  \(NumberText.grouped(Int(Double(rows) / seconds)))/s"
    if let share {
      let filled = Int(share * Double(width))
      let bar =
        String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
      text = "[\(bar)]  \(Int(share * 100)) %  " + text
      if share > 0.01 {
        let left = NumberText.duration(milliseconds: seconds * 1_000 * (1 - share) / share)
        text += "  \(left) left"
      }
    }
    return text
  }
}
