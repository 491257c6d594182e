import Events
import Messages
import RPC
import SwiftProtobuf
import Synchronization

/// Ingest's side of `Subscribe`, in process: plays one script for each connection, then answers from the whole log.
final class FakeLog: ClientTransport {
  enum Step {
    case records([ProtoLogRecord])
    case fail(RPCError)
  }

  private struct State {
    var records: [ProtoLogRecord] = []
    var scripts: [[Step]] = []
    var asked: [UInt64] = []
  }

  private let state = Mutex(State())

  /// - Parameter scripts: what the first connections see. After its last step a connection stays open, in silence.
  init(records: [ProtoLogRecord] = [], scripts: [[Step]] = []) {
    state.withLock { $0.records = records; $0.scripts = scripts }
  }

  /// The offsets that were asked for, one for each connection.
  var asked: [UInt64] { state.withLock { $0.asked } }

  func unary(_ method: MethodDescriptor, _ request: [UInt8], options: CallOptions) async throws
    -> [UInt8]
  {
    throw RPCError(.unimplemented, method.path)
  }

  func open(_ method: MethodDescriptor, options: CallOptions) async throws -> any ClientStream {
    FakeStream(log: self)
  }

  fileprivate func steps(from offset: UInt64) -> (steps: [Step], head: UInt64) {
    state.withLock { state in
      state.asked.append(offset)
      let head = state.records.last.map { $0.firstOffset + UInt64($0.count) } ?? 0
      guard state.scripts.isEmpty else { return (state.scripts.removeFirst(), head) }
      let rest = state.records.filter { $0.firstOffset >= offset }
      return ([.records([])] + rest.map { .records([$0]) }, head)
    }
  }
}

private final class FakeStream: ClientStream {
  private let log: FakeLog
  private let messages: AsyncThrowingStream<[UInt8], any Error>
  private let source: AsyncThrowingStream<[UInt8], any Error>.Continuation

  init(log: FakeLog) {
    self.log = log
    (messages, source) = AsyncThrowingStream.makeStream()
  }

  func send(_ message: [UInt8]) async throws {
    let request = try ProtoSubscribeRequest(serializedBytes: message)
    let (steps, head) = log.steps(from: request.fromOffset)
    for step in steps {
      switch step {
      case .fail(let error): source.finish(throwing: error)
      case .records(let records):
        var response = ProtoSubscribeResponse()
        response.records = records
        response.headOffset = head
        source.yield(try response.serializedBytes())
      }
    }
  }

  func finishSending() async throws {}

  func next() async throws -> [UInt8]? {
    var iterator = messages.makeAsyncIterator()
    return try await iterator.next()
  }

  func cancel() { source.finish(throwing: RPCError(.cancelled, "cancelled")) }
}

/// Records of a log as ingest writes them.
struct LogWriter {
  private(set) var records: [ProtoLogRecord] = []
  private(set) var head: UInt64 = 0

  mutating func app(_ appID: String, timeZone: String = "Asia/Shanghai") throws {
    var app = ProtoApp()
    app.appID = appID
    app.timeZone = timeZone
    append(.app(try app.serializedBytes()), count: 1, appID: appID)
  }

  mutating func token(_ record: ProtoTokenRecord) throws {
    append(.token(try record.serializedBytes()), count: 1, appID: "")
  }

  mutating func consent(_ record: ProtoConsentRecord) throws {
    append(.consent(try record.serializedBytes()), count: 1, appID: record.appID)
  }

  mutating func plan(_ record: ProtoPlanRecord) throws {
    append(.plan(try record.serializedBytes()), count: 1, appID: "shop")
  }

  /// A change of an app's scenes, channels, QR codes or campaigns.
  mutating func source(
    _ change: ProtoSourceRecord.OneOf_Change, appID: String = "shop"
  ) throws {
    var record = ProtoSourceRecord()
    record.change = change
    append(.source(try record.serializedBytes()), count: 1, appID: appID)
  }

  /// A batch of events `e0`, `e1` ...
  mutating func batch(_ count: Int, appID: String = "shop") throws {
    var request = ProtoCollectRequest()
    request.context.openID = "u"
    request.events = (0..<count).map { number in
      var event = ProtoEvent()
      event.name = "e\(number)"
      event.timeMs = 1_700_000_000_000 + Int64(number)
      return event
    }
    append(.batch(try request.serializedBytes()), count: UInt32(count), appID: appID)
  }

  private mutating func append(_ body: ProtoLogRecord.OneOf_Body, count: UInt32, appID: String) {
    var record = ProtoLogRecord()
    record.firstOffset = head
    record.count = count
    record.appID = appID
    record.receivedMs = 1_700_000_000_000 + Int64(head)
    record.body = body
    switch body {
    case .batch(let bytes), .app(let bytes), .token(let bytes), .erasure(let bytes), .consent(let bytes),
      .plan(let bytes), .source(let bytes):
      record.checksum = CRC32C.checksum(Array(bytes))
    }
    records.append(record)
    head += UInt64(count)
  }
}
