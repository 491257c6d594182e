import Events
import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

/// Who may bring how much: limits of keys, shares of the writer's queue.
@Suite struct IntakeTests {
  private static func events(_ count: Int, _ label: String) -> [ProtoEvent] {
    (0..<count).map { Fixture.event(id: "\(label)-\($0)") }
  }

  private static func limits(events: UInt64 = 0, bytes: UInt64 = 0) -> ProtoKeyLimits {
    .with {
      $0.eventsPerSecond = events
      $0.bytesPerSecond = bytes
    }
  }

  // MARK: Keys

  @Test func `a key over its rate is refused with the wait that its bucket needs`() {
    let rates = KeyRates()
    let key = Principal(tokenID: "k", appID: "shop", scopes: [])
    rates.apply(
      .with {
        $0.tokenID = "k"
        $0.limits = Self.limits(events: 100, bytes: 1_000_000)
      })
    #expect(rates.refusal(of: key, now: 0) == nil)
    // A second's worth is there at once, and one batch may go beyond it.
    rates.charge(key, events: 99, bytes: 10)
    #expect(rates.refusal(of: key, now: 0) == nil)
    rates.charge(key, events: 51, bytes: 10)
    let refusal = rates.refusal(of: key, now: 0)
    #expect(refusal?.code == .resourceExhausted)
    #expect(refusal?.message.hasPrefix("limits.events_per_second: the token k may bring 100") == true)
    // 50 of debt and one more.
    #expect(refusal?.metadata["grpc-retry-pushback-ms"] == "510")
    #expect(rates.refusal(of: key, now: 509_000_000) != nil)
    #expect(rates.refusal(of: key, now: 511_000_000) == nil)
    // The longer of two waits is told.
    rates.charge(key, events: 100, bytes: 3_000_000)
    #expect(rates.refusal(of: key, now: 511_000_000)?.message.hasPrefix("limits.bytes_per_second") == true)
    #expect(rates.refusal(of: Principal(tokenID: "other", appID: "shop", scopes: []), now: 0) == nil)
    rates.apply(.with { $0.tokenID = "k" })
    #expect(rates.refusal(of: key, now: 511_000_000) == nil)
  }

  @Test func `a clock far ahead fills a bucket to a second's worth and not more`() {
    let rates = KeyRates()
    let key = Principal(tokenID: "k", appID: nil, scopes: [])
    rates.apply(
      .with {
        $0.tokenID = "k"
        $0.limits = Self.limits(events: 10)
      })
    _ = rates.refusal(of: key, now: 0)
    #expect(rates.refusal(of: key, now: 86_400_000_000_000) == nil)
    rates.charge(key, events: 10, bytes: 1)
    #expect(rates.refusal(of: key, now: 86_400_000_000_000) != nil)
  }

  @Test func `limits are set with a token, changed and taken away`() async throws {
    let fixture = try await Fixture()
    var create = ProtoCreateTokenRequest()
    create.appID = "shop"
    create.scopes = ["ingest:write"]
    create.limits = Self.limits(events: 5)
    let token = try await fixture.core.createToken(create, now: Fixture.start).token
    #expect(token.limits.eventsPerSecond == 5)
    let key = Principal(tokenID: token.tokenID, appID: "shop", scopes: ["ingest:write"])
    let first = Fixture.request(Self.events(20, "a"))
    #expect(try await fixture.send(first, as: key).accepted == 20)
    let refusal = try await fixture.refusal(first, as: key)
    #expect(refusal.code == .resourceExhausted)
    #expect(refusal.message.contains("limits.events_per_second"))
    // Another key of the app is free.
    #expect(try await fixture.send(first).duplicates == 20)
    var update = ProtoUpdateTokenRequest()
    update.tokenID = token.tokenID
    update.label = "raised"
    update.limits = Self.limits(events: 1_000_000_000)
    let updated = try await fixture.core.updateToken(update, now: Fixture.start)
    #expect(updated.label == "raised" && updated.limits == update.limits)
    update.clearLimits()
    #expect(try await !fixture.core.updateToken(update, now: Fixture.start).hasLimits)
    #expect(try await fixture.send(first, as: key).duplicates == 20)
    // They hold after a start as well.
    update.limits = Self.limits(bytes: 1)
    _ = try await fixture.core.updateToken(update, now: Fixture.start)
    try fixture.reopen()
    _ = try await fixture.send(first, as: key)
    #expect(try await fixture.refusal(first, as: key).message.contains("limits.bytes_per_second"))
  }

  @Test func `what cannot be a limit is refused with its field`() async throws {
    let fixture = try await Fixture()
    var create = ProtoCreateTokenRequest()
    create.appID = "shop"
    create.scopes = ["ingest:write"]
    create.limits = Self.limits(events: 1_000_000_001)
    let error = try await #require(throws: RPCError.self) {
      _ = try await fixture.core.createToken(create, now: Fixture.start)
    }
    #expect(error.code == .invalidArgument)
    #expect(
      error.message == "limits.events_per_second: at most 1000000000, 0 for no limit; got 1000000001")
    var update = ProtoUpdateTokenRequest()
    update.tokenID = "none"
    let unknown = try await #require(throws: RPCError.self) {
      _ = try await fixture.core.updateToken(update, now: Fixture.start)
    }
    #expect(unknown.code == .notFound)
    create.limits = Self.limits(bytes: 7)
    let token = try await fixture.core.createToken(create, now: Fixture.start).token
    try await fixture.core.revokeToken(token.tokenID, now: Fixture.start)
    update.tokenID = token.tokenID
    let revoked = try await #require(throws: RPCError.self) {
      _ = try await fixture.core.updateToken(update, now: Fixture.start)
    }
    #expect(revoked.code == .failedPrecondition)
  }

  // MARK: The queue

  /// A writer that takes the same time for each group.
  private struct Writer {
    var bound = QueueBound()

    mutating func write(
      megabytes: Double = 2, milliseconds: Double = 5, queued: Double = 0, refuses: Bool = false, times: Int = 1
    ) {
      for _ in 0..<times {
        if refuses { bound.refused() }
        bound.committed(
          bytes: Int(megabytes * 1e6), nanoseconds: Int64(milliseconds * 1e6), queued: Int(queued * 1e6))
      }
    }

    var megabytes: Double { Double(bound.bytesMax) / 1e6 }
  }

  @Test func `the queue holds what is written in 60 ms, or in four transactions`() {
    var writer = Writer()
    #expect(writer.bound.bytesMax == Limits.queuedBytesMax)
    writer.write(times: 200)
    #expect(abs(writer.megabytes - 24) < 0.1)
    #expect(abs(writer.bound.pushback(queued: 20_000_000) - 50) <= 1)
    writer.write(megabytes: 4, milliseconds: 20, times: 200)
    #expect(abs(writer.megabytes - 16) < 0.1)
    // Small groups tell nothing.
    writer.write(megabytes: 0.001, milliseconds: 10, times: 200)
    #expect(abs(writer.megabytes - 16) < 0.1)
    // Four of these would be 8 s.
    writer.write(megabytes: 100, milliseconds: 2_000, times: 200)
    #expect(abs(writer.megabytes - 20) < 0.1)
    writer.write(megabytes: 1, milliseconds: 1_000, times: 200)
    #expect(writer.bound.bytesMax == Limits.queuedBytesMin)
    writer.write(megabytes: 8, milliseconds: 0.001, times: 200)
    #expect(writer.bound.bytesMax == Limits.queuedBytesMax)
  }

  @Test func `a queue that stands is held to half, until the writer has had nothing to do`() {
    var writer = Writer()
    writer.write(times: 200)
    writer.write(queued: 10, refuses: true, times: 39)
    #expect(!writer.bound.isStanding)
    writer.write(queued: 10, refuses: true, times: 2)
    #expect(writer.bound.isStanding)
    #expect(abs(writer.megabytes - 12) < 0.1)
    // As long as it stands, whether anything is refused or not.
    writer.write(queued: 10, times: 400)
    #expect(writer.bound.isStanding)
    // Small groups tell nothing of the speed, but that it has run empty.
    writer.write(megabytes: 0.01, queued: 0.2)
    #expect(!writer.bound.isStanding)
    #expect(abs(writer.megabytes - 24) < 0.1)
  }

  @Test func `a queue that runs low now and then does not stand`() {
    var writer = Writer()
    writer.write(times: 200)
    for _ in 0..<20 {
      writer.write(queued: 20, refuses: true, times: 30)
      writer.write(queued: 2, refuses: true)
      #expect(!writer.bound.isStanding)
    }
  }

  @Test func `a queue from which nobody was refused does not stand`() {
    var writer = Writer()
    writer.write(times: 200)
    writer.write(queued: 14, times: 400)
    #expect(!writer.bound.isStanding)
  }

  @Test func `what a stalled disk has left does not stand`() {
    var writer = Writer()
    writer.write(times: 200)
    for _ in 0..<100 { writer.bound.refused() }
    writer.write(milliseconds: 300, queued: 22)
    for rest in stride(from: 21.0, to: 0, by: -1) {
      writer.write(queued: rest)
      #expect(!writer.bound.isStanding)
    }
  }

  @Test func `a few long transactions do not say that a queue stands`() {
    var writer = Writer()
    writer.write(megabytes: 8, milliseconds: 100, times: 200)
    writer.write(megabytes: 8, milliseconds: 100, queued: 20, refuses: true, times: 7)
    #expect(!writer.bound.isStanding)
    writer.write(megabytes: 8, milliseconds: 100, queued: 20, refuses: true)
    #expect(writer.bound.isStanding)
    #expect(abs(writer.megabytes - 16) < 0.5)
  }

  /// Apps offer so many batches each step, and the writer takes the oldest ones.
  @Test(arguments: [
    ([100, 100], [0.5, 0.5]), ([100, 10], [0.5, 0.5]), ([100, 2], [0.8, 0.2]),
    ([100, 40, 1], [0.45, 0.45, 0.1]), ([20, 20, 20, 20], [0.25, 0.25, 0.25, 0.25]),
  ])
  func `apps share the writer max-min, however much one of them offers`(
    offered: [Int], shares: [Double]
  ) {
    var bound = QueueBound()
    for _ in 0..<200 { bound.committed(bytes: 1_000_000, nanoseconds: 10_000_000, queued: 0) }
    var random = SeededRandom(seed: 7)
    let batch = 5_000
    let perStep = 10
    var queue: [Int] = []
    var held = [Int](repeating: 0, count: offered.count)
    var written = held
    for step in 0..<6_000 {
      var arrivals = offered.enumerated().flatMap { [Int](repeating: $0, count: $1) }
      arrivals.shuffle(using: &random)
      for app in arrivals
      where bound.admits(batch, queued: queue.count * batch, ofApp: held[app]) {
        queue.append(app)
        held[app] += batch
      }
      for app in queue.prefix(perStep) {
        held[app] -= batch
        if step >= 2_000 { written[app] += 1 }
      }
      queue.removeFirst(min(perStep, queue.count))
    }
    let total = Double(written.reduce(0, +))
    for (app, share) in shares.enumerated() {
      #expect(abs(Double(written[app]) / total - share) < 0.04, "app \(app): \(written)")
    }
  }

  @Test func `no more ids than allowed are remembered, and batches without ids go on`() async throws {
    let fixture = try await Fixture(dedup: DedupOptions(eventIDsMax: 30))
    #expect(try await fixture.send(Self.events(30, "a")).accepted == 30)
    let refusal = try await fixture.refusal(Fixture.request(Self.events(1, "b")))
    #expect(refusal.code == .resourceExhausted)
    #expect(refusal.message.hasPrefix("event_id: 30 ids are remembered"))
    #expect(refusal.metadata.isEmpty)
    #expect(try await fixture.send([Fixture.event(sequence: 1)], device: "d").accepted == 1)
  }

  @Test func `events of crawlers, of load tests and of servers are kept as they are: who reads them leaves them out`()
    async throws
  {
    let fixture = try await Fixture()
    let scenes = SceneTable.wechat.excludedCodes.prefix(3).map(Int32.init)
    #expect(!scenes.isEmpty)
    for scene in scenes {
      var request = Fixture.request([Fixture.event(id: "scene-\(scene)")])
      request.context.scene = scene
      #expect(try await fixture.send(request) == .with { $0.accepted = 1 })
    }
    var event = Fixture.event(id: "server")
    event.passive = true
    #expect(try await fixture.send([event]).accepted == 1)
    let batches = try await fixture.batches()
    #expect(batches.map(\.context.scene) == scenes + [0])
    #expect(batches.map { $0.events[0].passive } == scenes.map { _ in false } + [true])
  }
}
