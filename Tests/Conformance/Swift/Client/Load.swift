import InteropMessages
import RPC
import RPCTransport
import Synchronization

/// Many calls and streams, first to one server and, once that takes no more, to the next: what a client does while a server
/// ends. Every call has a name, which the server notes when its handler begins; each that fails is printed with it.
final class Load: Sendable {
  private static let unaryWorkers = 16
  private static let streamWorkers = 8
  private static let messagesPerStream = 20

  /// How many calls were OK with each server.
  private struct Counts {
    var calls = [0, 0]
    var streams = [0, 0]
  }

  private let arguments: Arguments
  private let channels: [Channel]
  private let counts = Mutex(Counts())

  init(_ arguments: Arguments) {
    self.arguments = arguments
    channels = [arguments.port, arguments.nextPort].map {
      Channel(host: arguments.host, port: $0, token: nil)
    }
  }

  func run() async {
    let end = Deadline.after(milliseconds: Int((arguments.loadSeconds ?? 0) * 1_000))
    await withTaskGroup { group in
      for worker in 0..<(Self.unaryWorkers + Self.streamWorkers) {
        group.addTask { await self.work(worker, until: end) }
      }
    }
    let counts = counts.withLock { $0 }
    print("ok \(counts.calls[0]) \(counts.streams[0]) \(counts.calls[1]) \(counts.streams[1])")
  }

  private func work(_ worker: Int, until end: Deadline) async {
    let streams = worker >= Self.unaryWorkers
    var server = 0
    var number = 0
    while !end.hasPassed {
      let name = "swift-\(worker)-\(number)"
      number += 1
      do {
        try await streams ? stream(name, channels[server]) : call(name, channels[server])
        let done = server
        counts.withLock { streams ? ($0.streams[done] += 1) : ($0.calls[done] += 1) }
      } catch {
        print("failed \(name) \(server) \(error)")
        server = 1
      }
    }
  }

  private func options(_ name: String) -> CallOptions {
    var options = CallOptions(timeoutMilliseconds: Cases.timeoutMilliseconds)
    options.metadata.add("x-conformance-call", name)
    return options
  }

  private func call(_ name: String, _ channel: Channel) async throws {
    var request = Grpc_Testing_SimpleRequest()
    request.responseSize = 100
    let answer = try await Grpc_Testing_TestServiceClient(channel)
      .unaryCall(request, options: options(name))
    try expectPayload(answer.payload, bytes: 100)
  }

  private func stream(_ name: String, _ channel: Channel) async throws {
    let call = try await Grpc_Testing_TestServiceClient(channel)
      .fullDuplexCall(options: options(name))
    var answers = call.responses.makeAsyncIterator()
    var request = Grpc_Testing_StreamingOutputCallRequest(responses: [100])
    request.responseParameters[0].intervalUs = 20_000
    for _ in 0..<Self.messagesPerStream {
      try await call.send(request)
      guard let answer = try await answers.next() else {
        throw CaseFailure(description: "the stream ended early")
      }
      try expectPayload(answer.payload, bytes: 100)
    }
    try await call.finishSending()
    try expect(try await answers.next() == nil, "more answers than requests came")
  }
}
