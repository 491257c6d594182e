import RPC
import RPCTransport
import Testing

/// The decisions of a channel, without sockets and with a clock of the test's own.
@Suite struct BalancerTests {
  final class Connection: Sendable {}
  typealias Core = Balancer<String, Connection>

  private func core(_ balancing: BalancingPolicy) -> Core {
    var configuration = ChannelConfiguration()
    configuration.balancing = balancing
    return Core(configuration)
  }

  private static let second: Int64 = 1_000_000_000
  private let failed = RPCError(.unavailable, "failed", delivery: .notSent)

  /// What is to be connected to, in order.
  private func connects(_ actions: [Core.Action]) -> [(id: Int, address: String)] {
    actions.compactMap { action -> (id: Int, address: String)? in
      guard case .connect(let id, let address, _) = action else { return nil }
      return (id: id, address: address)
    }
  }

  private func wakes(_ actions: [Core.Action]) -> [Int64] {
    actions.compactMap { action -> Int64? in
      guard case .wake(let moment) = action else { return nil }
      return moment
    }
  }

  private func resolves(_ actions: [Core.Action]) -> Bool {
    actions.contains { if case .resolve = $0 { true } else { false } }
  }

  private func isWaiting(_ pick: Core.Pick) -> Bool { if case .wait = pick { true } else { false } }

  private func isFailing(_ pick: Core.Pick) -> Bool { if case .fail = pick { true } else { false } }

  @Test func `pick first tries addresses in order and stays with the first that stands`() {
    var core = core(.pickFirst)
    let (pick, first) = core.pick(waitForReady: false, now: 0)
    #expect(isWaiting(pick) && resolves(first))
    #expect(core.state == .connecting)
    let a = connects(core.resolved(["a", "b", "c"], now: 0))
    #expect(a.map(\.address) == ["a"])
    let b = connects(core.connectFailed(a[0].id, failed, now: 10))
    #expect(b.map(\.address) == ["b"])
    let connection = Connection()
    #expect(core.connected(b[0].id, connection, now: 20).isEmpty)
    #expect(core.state == .ready)
    #expect(core.readyConnection() === connection)
    #expect(connects(core.wake(now: 100 * Self.second)).isEmpty)
  }

  @Test func `a slow address is joined by the next, and the slower one is closed`() {
    var core = core(.pickFirst)
    _ = core.exitIdle(0)
    let begin = core.resolved(["a", "b"], now: 0)
    #expect(wakes(begin) == [250_000_000])
    let b = connects(core.wake(now: 250_000_000))
    #expect(b.map(\.address) == ["b"])
    _ = core.connected(b[0].id, Connection(), now: 260_000_000)
    let late = core.connected(connects(begin)[0].id, Connection(), now: 270_000_000)
    guard case .close = late.first else {
      Issue.record("a second connection of pick first is kept")
      return
    }
    #expect(core.state == .ready)
  }

  @Test func `when all have failed it stays so, and goes on after each backoff`() {
    var core = core(.pickFirst)
    _ = core.exitIdle(0)
    let a = connects(core.resolved(["a"], now: 0))
    let after = core.connectFailed(a[0].id, failed, now: 5)
    #expect(core.state == .transientFailure)
    let due = wakes(after)[0]
    #expect((Int64(0.8e9)...Int64(1.2e9)).contains(due))
    #expect(isFailing(core.pick(waitForReady: false, now: 6).0))
    #expect(isWaiting(core.pick(waitForReady: true, now: 6).0))
    #expect(connects(core.wake(now: due - 1)).isEmpty)
    let again = connects(core.wake(now: due))
    #expect(again.map(\.address) == ["a"])
    // Sticky: trying is not yet succeeding.
    #expect(core.state == .transientFailure)
    let later = wakes(core.connectFailed(again[0].id, failed, now: due + 5))[0]
    #expect((Int64(1.6 * 0.8e9)...Int64(1.6 * 1.2e9)).contains(later - due))
  }

  @Test func `a connection that stood makes the next failure the first`() {
    var core = core(.pickFirst)
    _ = core.exitIdle(0)
    var id = connects(core.resolved(["a"], now: 0))[0].id
    for _ in 0..<5 {
      let due = wakes(core.connectFailed(id, failed, now: 0))[0]
      id = connects(core.wake(now: due))[0].id
    }
    let connection = Connection()
    _ = core.connected(id, connection, now: 0)
    _ = core.lost(id, connection, .served, now: 0)
    #expect(core.state == .idle)
    let now = 1_000 * Self.second
    let actions = core.exitIdle(now)
    #expect(resolves(actions))
    let due = wakes(core.connectFailed(connects(actions)[0].id, failed, now: now))[0]
    #expect(due - now <= Int64(1.2e9))
  }

  @Test func `round robin connects to all and takes turns`() {
    var core = core(.roundRobin)
    _ = core.exitIdle(0)
    let all = connects(core.resolved(["a", "b", "c"], now: 0))
    #expect(all.map(\.address) == ["a", "b", "c"])
    let connections = all.map { _ in Connection() }
    for (attempt, connection) in zip(all, connections) {
      _ = core.connected(attempt.id, connection, now: 1)
    }
    var counts = [0, 0, 0]
    for _ in 0..<30 {
      let pick = core.readyConnection()
      if let index = connections.firstIndex(where: { $0 === pick }) { counts[index] += 1 }
    }
    #expect(counts == [10, 10, 10])
  }

  @Test func `round robin goes on with those that are left and comes back to the lost`() {
    var core = core(.roundRobin)
    _ = core.exitIdle(0)
    let all = connects(core.resolved(["a", "b"], now: 0))
    let (a, b) = (Connection(), Connection())
    _ = core.connected(all[0].id, a, now: 1)
    _ = core.connected(all[1].id, b, now: 1)
    let now = 60 * Self.second
    let again = connects(core.lost(all[0].id, a, .served, now: now))
    #expect(again.map(\.address) == ["a"])
    #expect(core.state == .ready)
    #expect(core.readyConnection() === b)
    _ = core.connected(again[0].id, a, now: now)
    #expect(Set((0..<2).compactMap { _ in core.readyConnection() }.map(ObjectIdentifier.init)).count == 2)
  }

  @Test func `a server that closes at once is not met with a loop`() {
    var core = core(.roundRobin)
    _ = core.exitIdle(0)
    let first = connects(core.resolved(["a"], now: 0))[0]
    let connection = Connection()
    _ = core.connected(first.id, connection, now: 10)
    let actions = core.lost(first.id, connection, .served, now: 20)
    #expect(connects(actions).isEmpty)
    #expect(wakes(actions) == [Self.second])
    #expect(core.state == .connecting)
  }

  @Test func `a connection that ended at once is a failed attempt`() {
    var core = core(.pickFirst)
    _ = core.exitIdle(0)
    let a = connects(core.resolved(["a", "b"], now: 0))[0]
    let connection = Connection()
    _ = core.connected(a.id, connection, now: 10)
    let next = connects(core.lost(a.id, connection, .useless, now: 20))
    #expect(next.map(\.address) == ["b"])
    #expect(core.state == .connecting)
    let actions = core.connectFailed(next[0].id, failed, now: 30)
    #expect(core.state == .transientFailure)
    #expect(wakes(actions).allSatisfy { $0 >= Int64(0.8e9) })
  }

  @Test func `what waits does not wake while a first round goes on`() {
    var core = core(.pickFirst)
    _ = core.exitIdle(0)
    let a = connects(core.resolved(["a", "b"], now: 0))[0]
    _ = core.connectFailed(a.id, failed, now: 5)
    let late = core.wake(now: 5 * Self.second)
    #expect(wakes(late).isEmpty)
    #expect(core.state == .connecting)
  }

  @Test func `names are asked for again when connections fail, but not too often`() {
    var core = core(.pickFirst)
    _ = core.exitIdle(0)
    let a = connects(core.resolved(["a"], now: 0))[0]
    let early = core.connectFailed(a.id, failed, now: Self.second)
    #expect(!resolves(early))
    let later = core.wake(now: 31 * Self.second)
    #expect(connects(later).map(\.address) == ["a"])
    #expect(resolves(later))
    // One question at a time.
    #expect(!resolves(core.connectFailed(connects(later)[0].id, failed, now: 31 * Self.second)))
    let moved = connects(core.resolved(["b"], now: 31 * Self.second))
    #expect(moved.map(\.address) == ["b"])
  }

  @Test func `a name without an address fails calls until it has one`() {
    var core = core(.roundRobin)
    _ = core.exitIdle(0)
    let actions = core.resolveFailed(failed, now: 0)
    #expect(core.state == .transientFailure)
    #expect(isFailing(core.pick(waitForReady: false, now: 1).0))
    #expect(resolves(core.wake(now: wakes(actions)[0])))
    #expect(connects(core.resolved(["a"], now: 2 * Self.second)).count == 1)
  }

  @Test func `after the end nothing begins`() {
    var core = core(.roundRobin)
    _ = core.exitIdle(0)
    let id = connects(core.resolved(["a"], now: 0))[0].id
    #expect(core.shutdown().isEmpty)
    guard case .close = core.connected(id, Connection(), now: 1).first else {
      Issue.record("a connection is kept by a closed channel")
      return
    }
    #expect(core.state == .shutdown)
    #expect(core.exitIdle(2).isEmpty)
    #expect(core.wake(now: 3).isEmpty)
    #expect(isFailing(core.pick(waitForReady: true, now: 4).0))
  }
}
