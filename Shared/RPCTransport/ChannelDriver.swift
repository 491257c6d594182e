internal import NIOCore
internal import RPC

/// Drives one connection over a NIO channel: moves its output to the socket, once per turn of the loop.
// @unchecked: everything but `execute` and `schedule` is used on the event loop only.
final class ChannelDriver: ConnectionDriver, @unchecked Sendable {
  private let resources: LoopResources
  /// nil once the channel has gone.
  var onFlush: (() -> Void)?
  var onClose: (() -> Void)?
  /// While the channel delivers bytes, a flush waits for the end of the read.
  var isReading = false
  /// Whether the channel takes more, as it has told last: asked for once or twice with every answer.
  var isWritable = true
  private var flushScheduled = false

  init(_ resources: LoopResources) { self.resources = resources }

  var isOnLoop: Bool { resources.loop.inEventLoop }
  var loopIdentity: ObjectIdentifier { ObjectIdentifier(resources) }
  var taskExecutor: any TaskExecutor { resources.executor }
  func cancelling(_ work: () -> Void) { resources.executor.holding(work) }
  var backgroundExecutor: any TaskExecutor { BackgroundExecutor.shared }

  func execute(_ work: @escaping @Sendable () -> Void) { resources.loop.execute(work) }

  func schedule(afterNanoseconds nanoseconds: Int64, _ work: @escaping @Sendable () -> Void) {
    resources.loop.scheduleTask(in: .nanoseconds(nanoseconds), work)
  }

  func flush() {
    guard !isReading, !flushScheduled else { return }
    flushScheduled = true
    resources.flushLater(self)
  }

  func flushNow() {
    flushScheduled = false
    onFlush?()
  }

  func close() { onClose?() }

  /// Runs work on the loop and returns its result; nil where the loop has ended.
  func ask<Value: Sendable>(_ work: @escaping @Sendable () -> Value) async -> Value? {
    try? await resources.loop.submit(work).get()
  }
}
