import Foundation
import Ingest
import Messages
import RPC
import RPCTransport
import SwiftProtobuf
import Testing

/// The calls over a real connection.
@Suite struct ServiceTests {
  /// Runs the closure against a server on a free port.
  private func withServer(
    _ body: (IngestClient, EventLogClient, Fixture) async throws -> Void
  ) async throws {
    let fixture = try await Fixture()
    let service = IngestService(core: fixture.core, now: { Fixture.start })
    let server = RPCServer(
      configuration: ServerConfiguration(
        host: "127.0.0.1", port: 0, eventLoops: 1, limits: ServerLimits()),
      services: service.services, authorizer: OpenAuthorizer(), logger: fixture.logger)
    let port = try await server.start()
    let channel = Channel(host: "127.0.0.1", port: port, token: nil)
    let background = Task { try await service.run() }
    do {
      try await body(IngestClient(channel), EventLogClient(channel), fixture)
    } catch {
      Issue.record(error)
    }
    background.cancel()
    await channel.close()
    await server.shutdown(graceMilliseconds: 1_000)
  }

  private func request(_ events: [ProtoEvent], batch: UInt64 = 0) -> ProtoCollectRequest {
    Fixture.request(events, app: "shop", batch: batch)
  }

  @Test func `collect answers once the events are in the log`() async throws {
    try await withServer { ingest, _, fixture in
      let answer = try await ingest.collect(request([Fixture.event(id: "1"), Fixture.event(id: "2")]))
      #expect(answer.accepted == 2)
      #expect(fixture.core.head == 3)
      let error = await #expect(throws: RPCError.self) { _ = try await ingest.collect(request([])) }
      #expect(error?.code == .invalidArgument)
      let status = try await ingest.getLogStatus(ProtoGetLogStatusRequest())
      #expect(status.headOffset == 3)
      #expect(status.payloadBytes > 0)
    }
  }

  @Test func `a stream answers every batch in order, refused ones too`() async throws {
    try await withServer { ingest, _, fixture in
      let call = try await ingest.collectStream()
      async let sending: Void = {
        for batch in 1...200 as ClosedRange<UInt64> {
          let events = batch % 10 == 0 ? [] : [Fixture.event(id: "\(batch)")]
          try await call.send(request(events, batch: batch))
        }
        try await call.finishSending()
      }()
      var answers: [ProtoCollectResponse] = []
      for try await answer in call.responses { answers.append(answer) }
      try await sending
      #expect(answers.map(\.batch) == Array(1...200))
      for answer in answers {
        let isRefused = answer.batch % 10 == 0
        #expect(answer.accepted == (isRefused ? 0 : 1))
        #expect(answer.error.code == (isRefused ? Int32(StatusCode.invalidArgument.rawValue) : 0))
      }
      #expect(fixture.core.head == 181)
    }
  }

  @Test func `a subscriber gets what there is, then each new event within a second`() async throws {
    try await withServer { ingest, log, fixture in
      for index in 1...5 { _ = try await ingest.collect(request([Fixture.event(id: "\(index)")])) }
      var ask = ProtoSubscribeRequest()
      ask.fromOffset = 2
      ask.subscriber = "test"
      let stream = try await log.subscribe(ask)
      var responses = stream.makeAsyncIterator()
      var next: UInt64 = 2
      while next < 6 {
        for record in try #require(try await responses.next()).records {
          #expect(record.firstOffset == next)
          next += UInt64(record.count)
        }
      }
      for index in 6...20 {
        _ = try await ingest.collect(request([Fixture.event(id: "\(index)")]))
        let sent = ContinuousClock.now
        while next <= UInt64(index) {
          let response = try #require(try await responses.next())
          next += response.records.reduce(0) { $0 + UInt64($1.count) }
        }
        #expect(ContinuousClock.now - sent < .seconds(1))
      }
      let status = try await ingest.getLogStatus(ProtoGetLogStatusRequest())
      #expect(status.subscribers.map(\.name) == ["test"])
      #expect(status.subscribers.map(\.connected) == [true])
      // Nothing comes any more but signs of life, which tell the log's end.
      let sign = try #require(try await responses.next())
      #expect(sign.records.isEmpty)
      #expect(sign.headOffset == 21)
      stream.cancel()
    }
  }

  @Test func `an offset beyond the log's end is refused`() async throws {
    try await withServer { _, log, _ in
      var ask = ProtoSubscribeRequest()
      ask.fromOffset = 2
      ask.subscriber = "test"
      let error = await #expect(throws: RPCError.self) {
        for try await _ in try await log.subscribe(ask) {}
      }
      #expect(error?.code == .outOfRange)
      ask.fromOffset = 0
      ask.subscriber = ""
      let unnamed = await #expect(throws: RPCError.self) {
        for try await _ in try await log.subscribe(ask) {}
      }
      #expect(unnamed?.code == .invalidArgument)
    }
  }

  @Test func `streams that are cancelled while their tasks wait leave a server that serves`() async throws {
    try await withServer { ingest, log, fixture in
      for round in 0..<30 {
        var ask = ProtoSubscribeRequest()
        ask.subscriber = "test"
        let subscription = try await log.subscribe(ask)
        var messages = subscription.makeAsyncIterator()
        _ = try await messages.next()
        let call = try await ingest.collectStream()
        try await call.send(request([Fixture.event(id: "\(round)")]))
        var answers = call.responses.makeAsyncIterator()
        _ = try await answers.next()
        // Both handlers wait now: one for events, one for batches.
        subscription.cancel()
        call.cancel()
      }
      #expect(try await ingest.collect(request([Fixture.event(id: "after")])).accepted == 1)
      #expect(fixture.core.head == 32)
    }
  }
}
