import LiveStats
import Logging
import Messages
import Testing

@Suite("Watching")
struct WatchTests {
  private static let minute = LiveFixture.now / 60_000

  private func hub(_ fixture: LiveFixture) -> WatchHub {
    WatchHub(store: fixture.store, view: fixture.view, logger: Logger(label: "test"))
  }

  private func count(_ fixture: LiveFixture, _ hub: WatchHub, _ facts: [Fact]) throws {
    hub.changed(try fixture.commit([ProtoCollectRequest(facts)]))
  }

  @Test("The first message holds the last 60 minutes, the next one what changed since")
  func firstAndNext() async throws {
    let fixture = try LiveFixture()
    let hub = hub(fixture)
    try count(fixture, hub, [Fact(user: "a", time: LiveFixture.now - 240_000, page: "p")])
    let watcher = try hub.add(appID: LiveFixture.appID, path: "")
    #expect(hub.update(for: watcher, after: 0) == nil)
    await hub.refresh()
    let first = try #require(hub.update(for: watcher, after: 0))
    #expect(first.points.map(\.beginMinute) == Array((Self.minute - 59)...Self.minute))
    #expect(first.points.map(\.visits).reduce(0, +) == 1)
    #expect((first.users5Minutes, first.users30Minutes) == (1, 1))

    try count(fixture, hub, [Fact(user: "b", time: LiveFixture.now, page: "p")])
    await hub.refresh()
    let next = try #require(hub.update(for: watcher, after: first.version))
    #expect(next.points.map(\.beginMinute) == [Self.minute])
    #expect(next.points.first?.users == 1)
    #expect(next.users30Minutes == 2)
  }

  @Test("A slow watcher gets one merged state of all that it missed")
  func merged() async throws {
    let fixture = try LiveFixture()
    let hub = hub(fixture)
    let slow = try hub.add(appID: LiveFixture.appID, path: "")
    await hub.refresh()
    let seen = try #require(hub.update(for: slow, after: 0)).version
    for step in 0..<50 as Range<Int64> {
      let time = LiveFixture.now - step % 3 * 60_000
      try count(fixture, hub, [Fact(user: "u\(step)", time: time, page: "p")])
      await hub.refresh()
    }
    let update = try #require(hub.update(for: slow, after: seen))
    #expect(update.points.map(\.beginMinute) == [Self.minute - 2, Self.minute - 1, Self.minute])
    #expect(update.points.map(\.visits).reduce(0, +) == 50)
    #expect(update.users30Minutes == 50)
  }

  @Test("Wakes that come while nobody waits are one")
  func oneWake() async throws {
    let fixture = try LiveFixture()
    let hub = hub(fixture)
    let watcher = try hub.add(appID: LiveFixture.appID, path: "")
    await hub.refresh()
    for step in 0..<20 {
      try count(fixture, hub, [Fact(user: "u\(step)", time: LiveFixture.now, page: "p")])
      await hub.refresh()
    }
    hub.close()
    var wakes = 0
    for await _ in watcher.wakes { wakes += 1 }
    #expect(wakes == 1)
  }

  @Test("A page that nobody has visited yet is served once somebody does; other pages stay out")
  func futurePage() async throws {
    let fixture = try LiveFixture()
    let hub = hub(fixture)
    let watcher = try hub.add(appID: LiveFixture.appID, path: "pages/new")
    await hub.refresh()
    let first = try #require(hub.update(for: watcher, after: 0))
    #expect(first.points.count == 60)
    try count(fixture, hub, [Fact(user: "a", time: LiveFixture.now, page: "pages/other")])
    await hub.refresh()
    try count(fixture, hub, [Fact(user: "a", time: LiveFixture.now + 1, page: "pages/new")])
    await hub.refresh()
    let next = try #require(hub.update(for: watcher, after: first.version))
    #expect(next.points.map(\.visits) == [1])
    #expect(next.users5Minutes == 1)
  }

  @Test("Users leave the windows as time passes, without any event")
  func timePasses() async throws {
    let fixture = try LiveFixture()
    let hub = hub(fixture)
    try count(fixture, hub, [Fact(user: "a", time: LiveFixture.now, page: "p")])
    let watcher = try hub.add(appID: LiveFixture.appID, path: "")
    await hub.refresh()
    let first = try #require(hub.update(for: watcher, after: 0))
    fixture.clock.advance(5 * 60_000)
    hub.minutePassed()
    await hub.refresh()
    let next = try #require(hub.update(for: watcher, after: first.version))
    #expect((next.users5Minutes, next.users30Minutes) == (0, 1))
    #expect(next.points.map(\.beginMinute) == Array((Self.minute + 1)...(Self.minute + 5)))
  }

  @Test("Topics are bounded, and free again once nobody watches")
  func bounded() throws {
    let fixture = try LiveFixture()
    let hub = hub(fixture)
    let watchers = try (0..<LiveLimits.topicsMax).map {
      try hub.add(appID: LiveFixture.appID, path: "page\($0)")
    }
    #expect(throws: LiveQuestionError.tooManyTopics(LiveLimits.topicsMax)) {
      _ = try hub.add(appID: LiveFixture.appID, path: "one more")
    }
    hub.remove(watchers[0])
    hub.remove(watchers[0])
    _ = try hub.add(appID: LiveFixture.appID, path: "one more")
    #expect(hub.watcherCount == LiveLimits.topicsMax)
  }
}
