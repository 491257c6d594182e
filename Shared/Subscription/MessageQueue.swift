internal import Messages
internal import Synchronization

/// Messages between the task that reads the stream and the one that applies: bounded in bytes, one reader, one writer.
final class MessageQueue: Sendable {
  private struct State {
    var messages: [(message: ProtoSubscribeResponse, bytes: Int)] = []
    var bytes = 0
    var waitingReader: CheckedContinuation<Void, Never>?
    var waitingWriter: CheckedContinuation<Void, Never>?
    var isClosed = false
  }

  private let state = Mutex(State())

  /// Returns once there is room for the next message, or the queue is closed.
  func push(_ message: ProtoSubscribeResponse) async {
    let bytes = message.records.reduce(64) { $0 + $1.bodyBytes }
    let reader = state.withLock { state in
      state.messages.append((message, bytes))
      state.bytes += bytes
      defer { state.waitingReader = nil }
      return state.waitingReader
    }
    reader?.resume()
    await withCheckedContinuation { continuation in
      let hasRoom = state.withLock { state in
        if state.isClosed || state.bytes < FollowLimits.queueBytesMax { return true }
        state.waitingWriter = continuation
        return false
      }
      if hasRoom { continuation.resume() }
    }
  }

  /// What has come, at least one message and at most `FollowLimits.transactionBytesMax` bytes where there are more; waits
  /// for the first. nil: the queue is closed.
  func pop() async -> [ProtoSubscribeResponse]? {
    while true {
      await withCheckedContinuation { continuation in
        let isReady = state.withLock { state in
          if state.isClosed || !state.messages.isEmpty { return true }
          state.waitingReader = continuation
          return false
        }
        if isReady { continuation.resume() }
      }
      let (taken, writer) = state.withLock { state in Self.take(from: &state) }
      writer?.resume()
      if let taken { return taken.isEmpty ? nil : taken }
    }
  }

  /// nil where a wake-up found nothing; empty where the queue is closed.
  private static func take(
    from state: inout State
  ) -> ([ProtoSubscribeResponse]?, CheckedContinuation<Void, Never>?) {
    if state.isClosed { return ([], nil) }
    var bytes = 0
    var count = 0
    while count < state.messages.count {
      let next = state.messages[count].bytes
      if count > 0, bytes + next > FollowLimits.transactionBytesMax { break }
      bytes += next
      count += 1
    }
    guard count > 0 else { return (nil, nil) }
    let taken = state.messages[..<count].map(\.message)
    state.messages.removeFirst(count)
    state.bytes -= bytes
    defer { state.waitingWriter = nil }
    return (taken, state.waitingWriter)
  }

  /// Wakes both sides; what has not been taken is dropped.
  func close() {
    let waiting = state.withLock { state in
      state.isClosed = true
      state.messages = []
      defer { (state.waitingReader, state.waitingWriter) = (nil, nil) }
      return [state.waitingReader, state.waitingWriter]
    }
    for continuation in waiting { continuation?.resume() }
  }
}

extension ProtoLogRecord {
  var bodyBytes: Int {
    switch body {
    case .batch(let bytes), .app(let bytes), .token(let bytes), .erasure(let bytes), .consent(let bytes),
      .plan(let bytes), .source(let bytes):
      bytes.count
    case nil: 0
    }
  }
}
