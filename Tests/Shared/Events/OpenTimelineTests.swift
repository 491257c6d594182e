import Events
import TestKit
import Testing

@Suite("The timeline of a user's opens")
struct OpenTimelineTests {
  private typealias Entry = OpenTimeline.Entry

  /// Events of one user, some at the same millisecond, in order.
  private func history(_ random: inout SeededRandom, count: Int, pages: Bool) -> [Entry] {
    var time: Int64 = 1_700_000_000_000
    var sequence: UInt64 = 0
    return (0..<count).map { _ in
      time += [0, 1, 5_000, 40_000, 1_799_999, 1_800_000, 1_800_001, 7_200_000]
        .randomElement(using: &random) ?? 0
      sequence += 1
      let mark = [OpenMark.none, .none, .none, .none, .launch, .foreground, .background]
        .randomElement(using: &random) ?? .none
      let isVisit = pages && mark == .none && Bool.random(using: &random)
      return Entry(
        timeMilliseconds: time, sequence: sequence, mark: mark,
        page: isVisit ? UInt32.random(in: 1...3, using: &random) : 0)
    }
  }

  /// SEMANTICS 2, fed in order: what the timeline must agree with.
  private func opens(_ events: [Entry], _ rules: SessionRules) -> [OpenTimeline.Open] {
    var cutter = OpenCutter()
    var opens: [OpenTimeline.Open] = []
    for event in events {
      let kind: OpenCutter.Kind =
        switch event.mark {
        case .none: .other
        case .launch: .launch
        case .foreground: .foreground
        case .background: .background
        }
      if cutter.begins(kind, at: event.timeMilliseconds, rules: rules) {
        opens.append(.init(beginMilliseconds: event.timeMilliseconds, page: event.page))
      } else if opens[opens.count - 1].page == 0 {
        opens[opens.count - 1].page = event.page
      }
    }
    return opens
  }

  private func stored(_ timeline: OpenTimeline) throws -> OpenTimeline {
    var writer = PackedWriter()
    timeline.encode(into: &writer)
    return try writer.bytes.withUnsafeBytes { bytes in
      var reader = PackedReader(bytes)
      let copy = try OpenTimeline(from: &reader)
      #expect(reader.isAtEnd)
      return copy
    }
  }

  @Test("Opens are the same in whatever order events come, stored and read in between",
    arguments: [UInt64](1...40))
  func anyOrder(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let rules = seed % 2 == 0 ? SessionRules.classic : .everyShow
    let events = history(&random, count: Int.random(in: 1...120, using: &random), pages: seed % 3 != 0)
    var timeline = OpenTimeline()
    for event in seed % 4 == 0 ? events : events.shuffled(using: &random) {
      timeline.insert(event, rules: rules)
      if Int.random(in: 0..<10, using: &random) == 0 { timeline = try stored(timeline) }
    }
    #expect(timeline.opens(rules) == opens(events, rules), "seed \(seed)")
    #expect(timeline.openCount(rules) == UInt64(opens(events, rules).count), "seed \(seed)")
  }

  @Test("Ten thousand clicks of one open leave a handful of entries")
  func thins() {
    var timeline = OpenTimeline()
    for click in 0..<10_000 as Range<Int64> {
      timeline.insert(
        Entry(timeMilliseconds: click * 1_000, sequence: 0, mark: .none), rules: .classic)
    }
    #expect(timeline.openCount(.classic) == 1)
    #expect(timeline.entries.count <= 10_000_000 / 1_800_000 * 2 + 2)
  }

  @Test("Folding keeps the number of opens, and the next event continues the last one")
  func folds() {
    var timeline = OpenTimeline()
    let count = Int64(OpenTimeline.entriesMax + 10)
    for open in 0..<count {
      timeline.insert(
        Entry(timeMilliseconds: open * 3_600_000, sequence: 0, mark: .none), rules: .classic)
    }
    timeline.foldIfFull(.classic)
    #expect(timeline.entries.count <= OpenTimeline.entriesMax)
    #expect(timeline.openCount(.classic) == UInt64(count))
    timeline.insert(
      Entry(timeMilliseconds: (count - 1) * 3_600_000 + 1, sequence: 0, mark: .none),
      rules: .classic)
    #expect(timeline.openCount(.classic) == UInt64(count))
    // Older than what was folded: moves no open.
    timeline.insert(Entry(timeMilliseconds: 5, sequence: 0, mark: .launch), rules: .classic)
    #expect(timeline.openCount(.classic) == UInt64(count))
  }

  @Test("One endless open of many visits is folded too, and stays one open")
  func foldsEndlessOpen() {
    var timeline = OpenTimeline()
    for visit in 0...Int64(OpenTimeline.entriesMax) {
      timeline.insert(
        Entry(timeMilliseconds: visit * 1_000, sequence: 0, mark: .none, page: 1), rules: .classic)
    }
    timeline.foldIfFull(.classic)
    #expect(timeline.entries.count <= OpenTimeline.entriesMax)
    #expect(timeline.openCount(.classic) == 1)
  }

  @Test("Folding before a time keeps the open that was running then")
  func foldsBefore() {
    var timeline = OpenTimeline()
    for time in [0, 10_000_000, 10_500_000, 20_000_000] as [Int64] {
      timeline.insert(Entry(timeMilliseconds: time, sequence: 0, mark: .none), rules: .classic)
    }
    timeline.fold(before: 10_400_000, .classic)
    #expect(timeline.foldedOpens == 1)
    #expect(timeline.opens(.classic).map(\.beginMilliseconds) == [10_000_000, 20_000_000])
    timeline.insert(
      Entry(timeMilliseconds: 10_450_000, sequence: 0, mark: .none), rules: .classic)
    #expect(timeline.openCount(.classic) == 3)
  }

  @Test("Damaged bytes are an error", arguments: [[4], [0, 1], [0, 255, 255, 3], [0, 1, 0, 0]])
  func damaged(bytes: [UInt8]) {
    #expect(throws: PackedError.self) {
      try bytes.withUnsafeBytes { bytes in
        var reader = PackedReader(bytes)
        _ = try OpenTimeline(from: &reader)
      }
    }
  }
}
