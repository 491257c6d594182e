import Ingest
import TestKit
import Testing

/// What arriving numbers say about those that do not arrive, against a model without bounds.
@Suite struct DeviceWindowTests {
  /// Each number's own story, as `SequenceFigures` tells it.
  private struct Model {
    enum State { case missing, kept, excused, beforeFirst }

    var highest: UInt64 = 0
    var states: [UInt64: State] = [:]
    var figures = SequenceFigures()

    mutating func take(_ number: UInt64) {
      if highest == 0 {
        figures.beforeFirst += number - 1
        for lower in 1..<number { states[lower] = .beforeFirst }
        highest = number
      }
      move(to: number)
      if states[number] == .missing { figures.recovered += 1 }
      if states[number] == .beforeFirst { figures.beforeFirstReceived += 1 }
      states[number] = .kept
    }

    mutating func excuse(_ number: UInt64) {
      guard highest > 0, number < highest + 1_024, number + 1_024 > highest else { return }
      move(to: number)
      switch states[number] {
      case .missing: figures.recovered += 1
      case nil: break
      default: return
      }
      states[number] = .excused
    }

    private mutating func move(to number: UInt64) {
      guard number > highest else { return }
      let lowest = highest > 1_023 ? highest - 1_023 : 1
      for skipped in highest + 1..<number {
        states[skipped] = .missing
        figures.missing += 1
      }
      highest = number
      guard highest > 1_023 else { return }
      for left in lowest..<max(lowest, highest - 1_023) {
        if states.removeValue(forKey: left) == .missing { figures.lost += 1 }
      }
    }

    var stillMissing: UInt64 { UInt64(states.values.count { $0 == .missing }) }
  }

  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func `gaps are opened, filled and lost as in the model, also when stored and read`(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    withWindow { window in
      var model = Model()
      var figures = SequenceFigures()
      for step in 0..<3_000 {
        let number = Self.number(&random, highest: model.highest)
        if random.oneIn(6) {
          model.excuse(number)
          _ = window.excuse(number, &figures)
        } else if window.check(number, content: 1) == .new {
          model.take(number)
          window.insert(number, content: 1, &figures)
        }
        guard figures == model.figures, window.highest == model.highest else {
          Issue.record("seed \(seed), step \(step), number \(number): \(figures), not \(model.figures)")
          return
        }
        if random.oneIn(50) { Self.store(window) }
      }
      #expect(figures.missing == figures.recovered + figures.lost + model.stillMissing)
    }
  }

  private static func number(_ random: inout SeededRandom, highest: UInt64) -> UInt64 {
    let reach: UInt64 = random.oneIn(30) ? 2_500 : random.oneIn(5) ? 300 : 4
    if highest == 0 { return 1 + UInt64(random.below(random.oneIn(2) ? 1 : 2_000)) }
    let isAbove = random.oneIn(2)
    let distance = UInt64(random.below(Int(reach)))
    return isAbove ? highest + 1 + distance : max(highest, distance + 1) - distance
  }

  /// Through the bytes of the table `device` and back.
  private static func store(_ window: DeviceWindow) {
    var bytes: [UInt8] = []
    window.encoded(into: &bytes)
    #expect(bytes.count <= 648 + 136)
    #expect(bytes.withUnsafeBytes { window.decode($0) })
  }

  private func withWindow(_ body: (DeviceWindow) -> Void) {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: DeviceWindow.byteCount, alignment: 8)
    defer { memory.deallocate() }
    memory.initializeMemory(as: UInt8.self, repeating: 0, count: DeviceWindow.byteCount)
    body(DeviceWindow(memory: memory))
  }

  @Test func `a skipped number is missing, comes back, or is lost once 1,024 further`() {
    withWindow { window in
      var figures = SequenceFigures()
      for number in [1, 2, 4, 7] as [UInt64] { window.insert(number, content: 1, &figures) }
      #expect(figures.missing == 3)
      window.insert(5, content: 1, &figures)
      #expect(figures.recovered == 1)
      // 3 leaves the window with 1,027, 6 with 1,030.
      for number in 8...1_026 as ClosedRange<UInt64> { window.insert(number, content: 1, &figures) }
      #expect(figures.lost == 0)
      window.insert(1_027, content: 1, &figures)
      #expect(figures.lost == 1)
      for number in 1_028...1_030 as ClosedRange<UInt64> { window.insert(number, content: 1, &figures) }
      #expect(figures.lost == 2)
      #expect(figures.missing == figures.recovered + figures.lost)
    }
  }

  @Test func `a jump beyond the window loses what it skips but for the last 1,023`() {
    withWindow { window in
      var figures = SequenceFigures()
      window.insert(1, content: 1, &figures)
      window.insert(10_001, content: 1, &figures)
      #expect(figures.missing == 9_999)
      #expect(figures.lost == 9_999 - 1_023)
    }
  }

  @Test func `numbers below a device's first are no loss, and are known when they come`() {
    withWindow { window in
      var figures = SequenceFigures()
      window.insert(5_000, content: 1, &figures)
      #expect(figures.beforeFirst == 4_999)
      window.insert(4_999, content: 1, &figures)
      for number in 5_001...8_000 as ClosedRange<UInt64> { window.insert(number, content: 1, &figures) }
      #expect(figures.beforeFirstReceived == 1)
      #expect(figures.missing == 0)
      #expect(figures.lost == 0)
    }
  }

  @Test func `the highest numbers that there are do not overflow`() {
    withWindow { window in
      var figures = SequenceFigures()
      window.insert(1, content: 1, &figures)
      window.insert(UInt64(Int64.max), content: 1, &figures)
      #expect(figures.missing == UInt64(Int64.max) - 2)
      #expect(!window.excuse(.max, &figures))
    }
  }

  @Test func `bytes of another length are refused`() {
    withWindow { window in
      var figures = SequenceFigures()
      for number in [3, 5] as [UInt64] { window.insert(number, content: 1, &figures) }
      var bytes: [UInt8] = []
      window.encoded(into: &bytes)
      for count in 0..<bytes.count where count != bytes.count - 16 {
        #expect(!bytes[..<count].withUnsafeBytes { window.decode($0) })
      }
      // As written before numbers could be excused.
      #expect(bytes.dropLast(16).withUnsafeBytes { window.decode($0) })
    }
  }
}
