import Crypto
import Foundation
import Ingest
import Messages
import RPC
import SwiftProtobuf
import TestKit
import Testing

/// Erasing a user from the log: nothing of the user is left in the files, and everybody else's events are what they were.
@Suite(.timeLimit(.minutes(2))) struct ErasureTests {
  /// Every byte that is in the log's files.
  private func files(_ fixture: Fixture) throws -> Data {
    var bytes = Data()
    for name in try FileManager.default.contentsOfDirectory(atPath: fixture.folder.path) {
      bytes += try Data(contentsOf: fixture.folder.appendingPathComponent(name))
    }
    return bytes
  }

  private func request(
    _ user: String, _ number: Int, events: Int = 2, fill: Int = 40, received: Int64 = Fixture.start
  ) -> ProtoCollectRequest {
    var request = Fixture.request(
      (0..<events).map {
        Fixture.event(
          time: received, id: "id-\(user)-\(number)-\($0)-",
          fields: [("text", .text("field-\(user)-" + String(repeating: "x", count: fill)))])
      }, user: "open-\(user)-")
    request.context.city = "city-\(user)-"
    return request
  }

  private func marks(_ user: String) -> [String] {
    ["id-\(user)-", "field-\(user)-", "open-\(user)-", "city-\(user)-"]
  }

  private func withEraser<T>(_ fixture: Fixture, _ body: () async throws -> T) async throws -> T {
    let run = Task { [core = fixture.core] in try await core.run() }
    defer { run.cancel() }
    return try await body()
  }

  @Test(arguments: [1, 12])
  func `nothing of an erased user is left in the files, and the others are as they were`(together: Int) async throws {
    let fixture = try await Fixture()
    let users = (0..<60).map { "u\($0)" }
    var random = SeededRandom(seed: 7)
    var requests: [ProtoCollectRequest] = []
    for number in 0..<600 {
      let user = users[Int.random(in: 0..<users.count, using: &random)]
      let fill = Int.random(in: 0..<900, using: &random)
      requests.append(request(user, number, events: 1 + Int.random(in: 0..<25, using: &random), fill: fill))
      if requests.count == together {
        _ = try await fixture.sendTogether(requests)
        requests = []
      }
      // Kept aside for being late, and for being another event under a known id.
      if number % 5 == 0 {
        _ = try await fixture.send(request(user, number + 10_000, fill: fill), received: Fixture.start + 9 * Fixture.day)
        _ = try await fixture.send(request(user, number, events: 1, fill: fill + 1))
      }
    }
    let before = try await fixture.records()
    let quarantined = try await fixture.status().quarantinedEvents
    #expect(quarantined > 200)
    let erased = users.filter { _ in Int.random(in: 0..<2, using: &random) == 0 }
    var answers: [ProtoEraseUserResponse] = []
    try await withEraser(fixture) {
      for user in erased {
        answers.append(
          try await fixture.core.eraseUser(appID: "shop", openID: "open-\(user)-", now: Fixture.start))
      }
    }
    let bytes = try files(fixture)
    for user in erased {
      for mark in marks(user) {
        #expect(bytes.range(of: Data(mark.utf8)) == nil, "\(mark) is still in the files")
      }
    }
    for user in users where !erased.contains(user) {
      #expect(bytes.range(of: Data("open-\(user)-".utf8)) != nil)
    }
    let after = try await fixture.records()
    #expect(after.count == before.count + erased.count)
    var gone = 0
    for (old, new) in zip(before, after) {
      guard case .batch(let oldBytes) = old.body, case .batch(let newBytes) = new.body else { continue }
      let user = try ProtoCollectRequest(serializedBytes: oldBytes).context.openID
      guard erased.contains(where: { "open-\($0)-" == user }) else {
        #expect(old == new)
        continue
      }
      #expect(newBytes.isEmpty)
      #expect(new.firstOffset == old.firstOffset && new.count == old.count)
      gone += Int(new.count)
    }
    #expect(answers.reduce(0) { $0 + Int($1.erasedEvents) } == gone)
    let aside = answers.reduce(0) { $0 + Int($1.erasedQuarantined) }
    #expect(aside > 0)
    #expect(try await fixture.status().quarantinedEvents == quarantined - UInt64(aside))
    var pass = try fixture.core.beginVerification(from: 0)
    while pass.next < pass.end { try await fixture.core.verify(&pass) }
    #expect(pass.damagedCount == 0)
  }

  @Test func `nothing of erased users is left where quarantine has moved its rows`() async throws {
    let fixture = try await Fixture()
    let users = (0..<12).map { "u\($0)" }
    var random = SeededRandom(seed: 5)
    for number in 0..<60 {
      _ = try await fixture.sendTogether(
        (0..<8).map { batch in
          request(
            random.pick(users), number * 8 + batch, events: random.pick([1, 3, 30]),
            fill: random.pick([5, 100, 900]))
        }, received: Fixture.start + 9 * Fixture.day)
    }
    try await withEraser(fixture) {
      for user in users.dropLast() {
        _ = try await fixture.core.eraseUser(appID: "shop", openID: "open-\(user)-", now: Fixture.start)
      }
    }
    let bytes = try files(fixture)
    for user in users.dropLast() {
      for mark in marks(user) {
        #expect(bytes.range(of: Data(mark.utf8)) == nil, "\(mark) is still in the files")
      }
    }
    #expect(bytes.range(of: Data("open-u11-".utf8)) != nil)
  }

  @Test func `the record tells of the user only to who knows the id`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send(request("a", 1))
    let answer = try await withEraser(fixture) {
      try await fixture.core.eraseUser(appID: "shop", openID: "open-a-", now: Fixture.start)
    }
    #expect(answer.offset == 3)
    #expect(answer.erasedEvents == 2)
    let record = try #require(try await fixture.records().last)
    #expect(record.firstOffset == 3 && record.count == 1 && record.appID == "shop")
    guard case .erasure(let bytes) = record.body else {
      Issue.record("no erasure record")
      return
    }
    let body = try ProtoErasureRecord(serializedBytes: bytes)
    #expect(body.salt.count == 16)
    #expect(Data(SHA256.hash(data: body.salt + Data("open-a-".utf8))) == body.userHash)
  }

  @Test func `erased events stay known, new ones are taken`() async throws {
    let fixture = try await Fixture()
    _ = try await fixture.send(request("a", 1))
    _ = try await withEraser(fixture) {
      try await fixture.core.eraseUser(appID: "shop", openID: "open-a-", now: Fixture.start)
    }
    #expect(try await fixture.send(request("a", 1)).duplicates == 2)
    #expect(try await fixture.send(request("a", 2)).duplicates == 0)
    #expect(try await fixture.batches().last?.context.openID == "open-a-")
  }

  @Test func `an erasure that a restart interrupts goes on`() async throws {
    let fixture = try await Fixture()
    for number in 0..<200 { _ = try await fixture.send(request(number % 2 == 0 ? "a" : "b", number)) }
    // Nobody does the work: the order is written down all the same.
    let order = Task { [core = fixture.core] in
      try await core.eraseUser(appID: "shop", openID: "open-a-", now: Fixture.start)
    }
    while fixture.core.head == 401 { try await Task.sleep(for: .milliseconds(2)) }
    try fixture.reopen()
    #expect(try files(fixture).range(of: Data("open-a-".utf8)) != nil)
    try await withEraser(fixture) {
      // Its own answer comes after that of the first order, which is done before.
      _ = try await fixture.core.eraseUser(appID: "shop", openID: "open-c-", now: Fixture.start)
    }
    let bytes = try files(fixture)
    for mark in marks("a") { #expect(bytes.range(of: Data(mark.utf8)) == nil) }
    #expect(bytes.range(of: Data("open-b-".utf8)) != nil)
    order.cancel()
  }

  @Test func `an app and an id are needed`() async throws {
    let fixture = try await Fixture()
    for (app, user, code) in [
      ("", "u", StatusCode.invalidArgument), ("shop", "", .invalidArgument),
      ("shop", String(repeating: "u", count: 129), .invalidArgument), ("none", "u", .notFound),
    ] {
      let error = await #expect(throws: RPCError.self) {
        _ = try await fixture.core.eraseUser(appID: app, openID: user, now: Fixture.start)
      }
      #expect(error?.code == code)
    }
  }
}
