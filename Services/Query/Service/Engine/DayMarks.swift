/// Which events of a day count: by release channel and scene, and by a filter.
struct DayMarks: Sendable {
  /// By flags.
  let counted: Scratch<Bool>
  /// By row: 1 where it matches the filter; nil: no filter.
  let mask: Scratch<UInt8>?
  /// The value of something, as a number; nil: not asked.
  let values: RowValues?

  /// Good while the marks are there.
  var test: RowTest { RowTest(counted: counted.pointer, mask: mask?.pointer) }
}

struct RowTest {
  fileprivate let counted: UnsafeMutablePointer<Bool>
  fileprivate let mask: UnsafeMutablePointer<UInt8>?

  /// Before the first day.
  static var nothing: RowTest { RowTest(counted: noFlags.pointer, mask: nil) }
  private static let noFlags = Scratch(repeating: false, count: 256)

  /// Whether the row's traffic counts, whatever the filter.
  @inline(__always)
  func counts(_ row: Int, _ day: WalkedDay) -> Bool { counted[Int(day.columns.flags[row])] }

  @inline(__always)
  func holds(_ row: Int, _ day: WalkedDay) -> Bool {
    counts(row, day) && (mask.map { $0[row] != 0 } ?? true)
  }
}

/// The value of each row of a day, as a number. Where the context alone decides, there is one for each context.
struct RowValues: Sendable {
  private let perContext: Scratch<Int32>?
  private let perRow: Scratch<Int32>?

  init(perContext values: [Int32]) {
    perContext = Scratch(values)
    perRow = nil
  }

  init(perRow values: [Int32]) {
    perContext = nil
    perRow = Scratch(values)
  }

  /// Other numbers for the same values.
  func map(_ change: (Int32) -> Int32) -> RowValues {
    if let perContext { return RowValues(perContext: perContext.values.map(change)) }
    return RowValues(perRow: perRow?.values.map(change) ?? [])
  }

  /// Good while the values are there.
  var look: Look { Look(perContext: perContext?.pointer, perRow: perRow?.pointer) }

  struct Look {
    fileprivate let perContext: UnsafeMutablePointer<Int32>?
    fileprivate let perRow: UnsafeMutablePointer<Int32>?

    @inline(__always)
    func callAsFunction(_ row: Int, _ day: WalkedDay) -> Int {
      if let perContext { return Int(perContext[day.context(row)]) }
      return perRow.map { Int($0[row]) } ?? 0
    }
  }
}

/// Works out the marks of one day after another, and counts what of the range was left out.
final class DayMarker {
  private let filter: FilterProgram?
  private let traffic: TrafficChoice
  private let counted: Scratch<Bool>
  /// By day: a day may be marked more than once.
  private var tallies: [Int32: EventTally] = [:]

  init(_ filter: FilterProgram?, _ traffic: TrafficChoice) {
    self.filter = filter
    self.traffic = traffic
    counted = Scratch(traffic.countedByFlags)
  }

  func marks(
    _ day: DayColumns, _ place: WalkedDay.Place, values: RowValues? = nil
  ) -> DayMarks {
    let mask = filter?.mask(day)
    if place == .inRange, tallies[day.day] == nil {
      var tally = EventTally()
      tally.add(day, traffic, mask: mask)
      tallies[day.day] = tally
    }
    return DayMarks(counted: counted, mask: mask.map(Scratch.init), values: values)
  }

  /// Of the days of the range.
  var tally: EventTally {
    tallies.values.reduce(into: EventTally()) { $0.add($1) }
  }
}
