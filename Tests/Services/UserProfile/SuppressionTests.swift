import TestKit
import Testing
import UserProfile

@Suite("Hiding small groups")
struct SuppressionTests {
  private func apply(_ users: [String: UInt64], _ min: UInt64) -> [String: UInt64] {
    let groups = users.map { PortraitGroup(name: $0.key, users: $0.value) }
    return Dictionary(
      uniqueKeysWithValues: Suppression.apply(groups, minUsers: min).map {
        ($0.isSuppressed ? "(suppressed)" : $0.name, $0.users)
      })
  }

  @Test("Nothing is hidden where every group is large enough, or the bound is 1")
  func nothing() {
    #expect(apply(["a": 5, "b": 9], 5) == ["a": 5, "b": 9])
    #expect(apply(["a": 1, "b": 1], 1) == ["a": 1, "b": 1])
    #expect(apply([:], 5).isEmpty)
  }

  @Test("Small groups are merged")
  func merged() {
    #expect(apply(["a": 90, "b": 4, "c": 3], 5) == ["a": 90, "(suppressed)": 7])
  }

  @Test("A group that alone is small takes the next smallest with it: no subtraction tells it")
  func alone() {
    #expect(apply(["a": 90, "b": 20, "c": 3], 5) == ["a": 90, "(suppressed)": 23])
  }

  @Test("Two tiny groups whose sum is small take the next smallest with them")
  func smallSum() {
    #expect(apply(["a": 90, "b": 20, "c": 1, "d": 1], 5) == ["a": 90, "(suppressed)": 22])
  }

  @Test("Where all are small, all are one row; unknown is a group like any other")
  func all() {
    #expect(apply(["a": 2, "": 1], 5) == ["(suppressed)": 3])
    #expect(apply(["": 2], 5) == ["(suppressed)": 2])
  }

  @Test("The rows shown are in order, the largest first, suppressed last")
  func order() {
    let groups = ["b", "a", "c"].map { PortraitGroup(name: $0, users: $0 == "c" ? 50 : 10) }
      + [PortraitGroup(name: "x", users: 3), PortraitGroup(name: "y", users: 3)]
    let rows = Suppression.apply(groups, minUsers: 5)
    #expect(rows.map(\.name) == ["c", "a", "b", ""])
    #expect(rows.map(\.isSuppressed) == [false, false, false, true])
  }

  @Test("Random tables: the sum stays, and a hidden part is never one group nor a small sum",
    arguments: [UInt64](1...50))
  func random(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let groups = (0..<random.below(12)).map {
      PortraitGroup(name: "g\($0)", users: UInt64(random.below(15)))
    }
    let min = UInt64(1 + random.below(9))
    let rows = Suppression.apply(groups, minUsers: min)
    let total = groups.reduce(0) { $0 + $1.users }
    #expect(rows.reduce(0) { $0 + $1.users } == total, "seed \(seed)")
    #expect(rows.allSatisfy { $0.isSuppressed || $0.users >= min }, "seed \(seed)")
    let shown = rows.filter { !$0.isSuppressed }.count
    let present = groups.filter { $0.users > 0 }.count
    if let hidden = rows.last, hidden.isSuppressed, shown > 0 {
      #expect(present - shown >= 2 && hidden.users >= min, "seed \(seed)")
    }
  }
}
