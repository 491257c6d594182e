/// What arriving numbers say about those that did not arrive, added up. A number of a device is in one of these states:
///
/// ```
///            skipped                pushed out of the window
///  above ----------------> missing -------------------------> lost
///    |                        | arrives
///    | arrives                v
///    +---------------> kept, or excused (it came, but its event was not kept)
/// ```
///
/// Each change is counted when it is seen, so over all time `missing == recovered + lost + what is missing still`.
package struct SequenceFigures: Equatable, Sendable {
  /// Numbers that a higher one skipped.
  package var missing: UInt64 = 0
  /// Numbers that came after all, within the window.
  package var recovered: UInt64 = 0
  /// Missing numbers that the window has left behind: proven lost.
  package var lost: UInt64 = 0
  /// Numbers below the first that the device ever sent here: of a device that is older than this log, or that was installed anew
  /// and counts on.
  package var beforeFirst: UInt64 = 0
  /// Of these, the ones that came after all.
  package var beforeFirstReceived: UInt64 = 0

  package init() {}

  package var isZero: Bool { self == SequenceFigures() }

  /// Sums stay at their highest value rather than overflow: a device may skip 2^63 numbers more than once.
  package mutating func add(_ other: SequenceFigures) {
    missing = Self.sum(missing, other.missing)
    recovered = Self.sum(recovered, other.recovered)
    lost = Self.sum(lost, other.lost)
    beforeFirst = Self.sum(beforeFirst, other.beforeFirst)
    beforeFirstReceived = Self.sum(beforeFirstReceived, other.beforeFirstReceived)
  }

  private static func sum(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let (sum, isTooLarge) = a.addingReportingOverflow(b)
    return isTooLarge ? .max : sum
  }
}
