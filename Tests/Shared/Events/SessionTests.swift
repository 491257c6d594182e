import Events
import Testing

private let second: Int64 = 1_000

@Suite struct OpenCutterTests {
  /// Feeds kinds and seconds; returns the positions that begin an open.
  private func cuts(
    _ events: [(OpenCutter.Kind, Int64)], rules: SessionRules = .classic
  ) -> [Int] {
    var cutter = OpenCutter()
    var found: [Int] = []
    for (position, event) in events.enumerated()
    where cutter.begins(event.0, at: event.1, rules: rules) {
      found.append(position)
    }
    return found
  }

  @Test func the_first_event_begins_an_open() {
    #expect(cuts([(.other, 5)]) == [0])
    #expect(cuts([(.background, 5), (.other, 6)]) == [0])
  }

  @Test func exactly_the_timeout_does_not_cut() {
    #expect(cuts([(.other, 0), (.other, 1_800_000)]) == [0])
    #expect(cuts([(.other, 0), (.other, 1_800_001)]) == [0, 1])
  }

  @Test func the_timeout_runs_from_the_event_before() {
    #expect(cuts([(.other, 0), (.other, 1_000_000), (.other, 2_000_000)]) == [0])
  }

  @Test func a_launch_always_cuts() {
    #expect(cuts([(.other, 0), (.launch, 0), (.foreground, 0), (.other, 1)]) == [0, 1])
  }

  @Test func coming_back_cuts_only_after_longer_than_merge_under() {
    let at30 = [(OpenCutter.Kind.other, Int64(0)), (.background, 10 * second), (.foreground, 40 * second)]
    #expect(cuts(at30) == [0])
    var later = at30
    later[2].1 += 1
    #expect(cuts(later) == [0, 2])
  }

  @Test func coming_back_without_having_left_does_not_cut() {
    #expect(cuts([(.launch, 0), (.foreground, 100 * second)]) == [0])
  }

  @Test func every_show_cuts_at_every_return() throws {
    let events: [(OpenCutter.Kind, Int64)] = [(.launch, 0), (.background, 5), (.foreground, 6)]
    #expect(cuts(events, rules: .everyShow) == [0, 2])
    #expect(cuts(events) == [0])
  }

  @Test func a_late_event_does_not_turn_time_back() {
    let events: [(OpenCutter.Kind, Int64)] = [(.other, 1_800_000), (.other, 0), (.other, 3_000_000)]
    #expect(cuts(events) == [0])
  }

  @Test func state_survives_storing() {
    var cutter = OpenCutter()
    _ = cutter.begins(.background, at: 7, rules: .classic)
    var restored = OpenCutter(
      lastMilliseconds: cutter.lastMilliseconds,
      backgroundMilliseconds: cutter.backgroundMilliseconds)
    #expect(restored == cutter)
    let begins = restored.begins(.foreground, at: 30_008, rules: .classic)
    #expect(begins)
  }

  @Test func rules_out_of_range_are_named() {
    #expect(throws: RuleViolation.self) {
      try SessionRules(mergeUnderMilliseconds: 0, timeoutMilliseconds: 999)
    }
    let found = #expect(throws: RuleViolation.self) {
      try SessionRules(mergeUnderMilliseconds: -1, timeoutMilliseconds: 1_000)
    }
    #expect(found?.message == "session_rules.merge_under_ms: from 0 to 86400000; got -1")
  }
}

@Suite struct StayMeterTests {
  private typealias Meter = StayMeter<String, Int>

  /// Stays by visit, in the order of the views; ends at the last event.
  private func stays(_ events: [(Meter.Event, Int64, begins: Bool)]) -> [Int: Int64] {
    var meter = Meter()
    var found: [Int: Int64] = [:]
    for (event, time, begins) in events {
      if let done = meter.take(event, at: time, beginsOpen: begins) {
        #expect(found.updateValue(done.stayMilliseconds, forKey: done.visit) == nil)
      }
    }
    if let done = meter.finish() { found[done.visit] = done.stayMilliseconds }
    return found
  }

  @Test func without_a_leave_the_next_event_ends_a_stay() {
    #expect(
      stays([
        (.view("a", visit: 1), 0, true), (.other, 10, false), (.view("b", visit: 2), 30, false),
      ]) == [1: 10, 2: 0])
  }

  @Test func a_leave_s_own_stay_wins() {
    #expect(
      stays([
        (.view("a", visit: 1), 0, true), (.leave("a", stay: 7), 20, false),
        (.view("b", visit: 2), 30, false), (.leave("b", stay: 9), 90, false),
      ]) == [1: 7, 2: 9])
  }

  @Test func a_leave_without_a_stay_ends_the_last_page() {
    #expect(
      stays([(.view("a", visit: 1), 0, true), (.leave(nil, stay: nil), 20, false)]) == [1: 20])
  }

  @Test func another_page_s_leave_is_not_this_visit_s() {
    #expect(
      stays([(.view("a", visit: 1), 0, true), (.leave("z", stay: 99), 20, false)]) == [1: 0])
  }

  @Test func the_last_page_of_an_open_counts_nothing() {
    #expect(
      stays([(.view("a", visit: 1), 0, true), (.view("b", visit: 2), 9_999_999, true)])
        == [1: 0, 2: 0])
    #expect(stays([(.view("a", visit: 1), 0, true), (.other, 50, false)]) == [1: 0])
  }

  @Test func the_background_is_not_stay() {
    #expect(
      stays([
        (.view("a", visit: 1), 0, true), (.other, 10, false), (.other, 25, false),
        (.view("b", visit: 2), 40, false),
      ]) == [1: 10, 2: 0])
  }
}
