import Ingest
import Messages
import RPC
import ServiceKit
import Testing

@Suite struct PipelineTests {
  /// The metrics port's line of a fate.
  private func count(
    _ fixture: Fixture, _ step: String, _ outcome: String, _ reason: String = ""
  ) -> Int? {
    value(
      fixture,
      "footfall_ingest_events_total{step=\"\(step)\",outcome=\"\(outcome)\",reason=\"\(reason)\"}"
    ).map { Int($0) }
  }

  private func value(_ fixture: Fixture, _ name: String) -> Double? {
    let metrics = MetricsRegistry()
    fixture.core.register(in: metrics)
    let line = metrics.text().split(separator: "\n").first { $0.hasPrefix(name + " ") }
    return line.flatMap { Double($0.dropFirst(name.count + 1)) }
  }

  @Test func `every event is counted once, by step, outcome and reason`() async throws {
    let fixture = try await Fixture()
    let types = Fixture.event(id: "types", fields: [("price", .integer(1))])
    _ = try await fixture.send([types, Fixture.event(sequence: 5_000)], device: "d")
    _ = try await fixture.send(
      [
        types,  // duplicate
        Fixture.event("Bad", id: "1"), Fixture.event(time: 0, id: "2"), Fixture.event(time: -1, id: "3"),
        Fixture.event(id: "4", fields: [("price", .text("1"))]),
        Fixture.event("$page_leave", id: "5", fields: [("stay_ms", .text("1"))]),
        Fixture.event(time: 1, id: "6"), Fixture.event("other", id: "types"),
        Fixture.event(sequence: 1), Fixture.event(sequence: 4_000), Fixture.event(sequence: 4_001),
      ], device: "d")
    #expect(count(fixture, "append", "accepted") == 4)
    #expect(count(fixture, "deduplicate", "duplicate") == 1)
    #expect(count(fixture, "names", "rejected", "bad_name") == 1)
    #expect(count(fixture, "names", "rejected", "required") == 1)
    #expect(count(fixture, "names", "rejected", "out_of_range") == 1)
    #expect(count(fixture, "names", "rejected", "wrong_type") == 1)
    #expect(count(fixture, "types", "quarantined", "wrong_type") == 1)
    #expect(count(fixture, "lateness", "quarantined", "late") == 1)
    #expect(count(fixture, "deduplicate", "conflict", "conflict") == 1)
    #expect(count(fixture, "deduplicate", "quarantined", "below_window") == 1)
    #expect(fixture.core.head == 5)
  }

  @Test func `refused batches are counted by the step that refused them`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.refusal(Fixture.request([]))
    _ = try await fixture.refusal(Fixture.request([Fixture.event(id: "1")], app: "other"))
    _ = try await fixture.refusal(Fixture.request([Fixture.event(id: "1")]), as: Fixture.anyApp)
    await #expect(throws: RPCError.self) {
      _ = try await fixture.core.collect(
        [0x1a, 0xff], principal: Fixture.principal, received: Fixture.start)
    }
    for (step, refused) in [("decode", 1), ("authorise", 2), ("limits", 1), ("append", 0)] {
      let name = "footfall_ingest_batches_refused_total{step=\"\(step)\"}"
      #expect(value(fixture, name) == Double(refused), "\(step)")
    }
  }

  @Test func `each step of a sampled batch is timed`() async throws {
    let fixture = try await Fixture()
    for index in 0..<33 { _ = try await fixture.send([Fixture.event(id: "\(index)")]) }
    for step in ["decode", "authorise", "limits", "names", "types", "clock", "lateness", "deduplicate", "append"] {
      #expect(value(fixture, "footfall_ingest_step_seconds_count{step=\"\(step)\"}") == 3, "\(step)")
    }
    // One transaction made the app; its answer may be on its way still.
    #expect(value(fixture, "footfall_ingest_step_seconds_count{step=\"sync\"}") == 34)
    #expect((value(fixture, "footfall_ingest_step_seconds_sum{step=\"sync\"}") ?? 0) > 0)
  }
}
