import RPC
import Testing

@Suite struct ClientTimersTests {
  private static let second: Int64 = 1_000_000_000

  private func timers(
    _ time: Int? = 10_000, isWithoutCalls: Bool = false, idle: Int? = nil
  ) -> ClientTimers {
    var keepalive = ClientKeepalive(timeMilliseconds: time)
    keepalive.isWithoutCalls = isWithoutCalls
    return ClientTimers(keepalive: keepalive, idleMilliseconds: idle)
  }

  @Test func `a time below ten seconds is ten seconds`() {
    #expect(ClientKeepalive(timeMilliseconds: 1).effectiveTimeMilliseconds == 10_000)
    #expect(ClientKeepalive().effectiveTimeMilliseconds == nil)
  }

  @Test func `silence is met with a PING and then the end`() {
    var timers = timers()
    #expect(timers.begin(now: 0) == 10 * Self.second)
    #expect(timers.look(now: 10 * Self.second, hasCalls: true) == .ping(untilNanoseconds: 30 * Self.second))
    #expect(timers.look(now: 29 * Self.second, hasCalls: true) == .wait(untilNanoseconds: 30 * Self.second))
    #expect(timers.look(now: 30 * Self.second, hasCalls: true) == .lost)
  }

  @Test func `any byte counts as a sign of life`() {
    var timers = timers()
    _ = timers.begin(now: 0)
    timers.bytesCame(now: 8 * Self.second)
    #expect(timers.look(now: 10 * Self.second, hasCalls: true) == .wait(untilNanoseconds: 18 * Self.second))
    #expect(timers.look(now: 18 * Self.second, hasCalls: true) == .ping(untilNanoseconds: 38 * Self.second))
    timers.bytesCame(now: 19 * Self.second)
    #expect(timers.look(now: 38 * Self.second, hasCalls: true) == .ping(untilNanoseconds: 58 * Self.second))
  }

  @Test func `without calls there are no PINGs, unless they are wanted`() {
    for isWithoutCalls in [false, true] {
      var timers = timers(isWithoutCalls: isWithoutCalls)
      _ = timers.begin(now: 0)
      let action = timers.look(now: 10 * Self.second, hasCalls: false)
      #expect(
        action == (isWithoutCalls
          ? .ping(untilNanoseconds: 30 * Self.second) : .wait(untilNanoseconds: 20 * Self.second)))
    }
  }

  @Test func `a connection is idle after a time without calls`() {
    var timers = timers(nil, idle: 5_000)
    #expect(timers.begin(now: 0) == 5 * Self.second)
    timers.callBegan()
    #expect(timers.look(now: 5 * Self.second, hasCalls: false) == .wait(untilNanoseconds: 10 * Self.second))
    #expect(timers.look(now: 10 * Self.second, hasCalls: true) == .wait(untilNanoseconds: 15 * Self.second))
    #expect(timers.look(now: 15 * Self.second, hasCalls: false) == .idle)
  }

  @Test func `without either there is nothing to wait for`() {
    var timers = timers(nil)
    #expect(timers.begin(now: 0) == .max)
    #expect(timers.look(now: 100 * Self.second, hasCalls: true) == .wait(untilNanoseconds: .max))
  }
}
