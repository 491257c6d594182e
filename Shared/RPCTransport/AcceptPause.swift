internal import Logging
internal import NIOCore

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Waits where the system has no descriptor or memory for another connection: the one that comes stays in the queue, and asking for
/// it again at once would be all that the loop does. NIO's `AcceptBackoffHandler` delays the next read only, and the socket,
/// still registered, reports itself again and again (measured: one whole core).
final class AcceptPause: ChannelInboundHandler {
  typealias InboundIn = any NIOCore.Channel

  private static let pause = TimeAmount.milliseconds(100)
  private static let silence = TimeAmount.seconds(60)

  private let logger: Logger
  private var lastTold: NIODeadline?

  init(_ logger: Logger) { self.logger = logger }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard let errno = (error as? IOError)?.errnoCode,
      [EMFILE, ENFILE, ENOBUFS, ENOMEM].contains(errno)
    else { return context.fireErrorCaught(error) }
    tell(error)
    let channel = context.channel
    try? channel.syncOptions?.setOption(.autoRead, value: false)
    context.eventLoop.scheduleTask(in: Self.pause) {
      // The channel may be closed by now: there is nothing to read any more then.
      _ = channel.setOption(.autoRead, value: true)
    }
  }

  private func tell(_ error: any Error) {
    let now = NIODeadline.now()
    if let lastTold, now - lastTold < Self.silence { return }
    lastTold = now
    logger.error("no connection can be accepted for now", metadata: ["cause": "\(error)"])
  }
}
