internal import HTTP2
internal import NIOCore
internal import RPC

/// Joins a NIO channel and a `ClientConnection`.
final class ClientChannelHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let connection: ClientConnection
  private let driver: ChannelDriver
  private var output: OutputWriter
  private var failure: String?
  private var timer: Scheduled<Void>?
  /// Within `flushOutput`: see `ServerChannelHandler`.
  private var isFlushing = false
  private var flushesAgain = false

  init(_ connection: ClientConnection, _ driver: ChannelDriver, _ output: OutputBuffer) {
    self.output = OutputWriter(output)
    self.connection = connection
    self.driver = driver
  }

  func channelActive(context: ChannelHandlerContext) {
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    driver.onFlush = { [weak self] in self?.flushOutput(bound.value) }
    driver.onClose = { bound.value.close(promise: nil) }
    connection.localAddress = context.localAddress.map(ServerChannelHandler.text) ?? ""
    connection.peerAddress = context.remoteAddress.map(ServerChannelHandler.text) ?? ""
    connection.onTimer = { [weak self] moment in self?.setTimer(moment, bound.value.eventLoop) }
    flushOutput(context)
  }

  /// One timer for a connection, moved as it likes.
  private func setTimer(_ moment: Int64, _ loop: any EventLoop) {
    timer?.cancel()
    let wait = TimeAmount.nanoseconds(max(0, moment - MonotonicClock.now))
    timer = loop.scheduleTask(in: wait) { [weak connection] in connection?.timerFired() }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard failure == nil else { return }
    let buffer = unwrapInboundIn(data)
    driver.isReading = true
    do {
      try buffer.withUnsafeReadableBytes { bytes throws(HTTP2Error) in
        try connection.receive(bytes)
      }
    } catch {
      failure = "the server broke HTTP/2: \(error)"
    }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    driver.isReading = false
    flushOutput(context)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    driver.isWritable = context.channel.isWritable
    if driver.isWritable { flushOutput(context) }
  }

  private func flushOutput(_ context: ChannelHandlerContext) {
    guard !isFlushing else {
      flushesAgain = true
      return
    }
    isFlushing = true
    repeat {
      flushesAgain = false
      var wrote = false
      while output.write(connection.http2, to: context, driver) > 0 {
        wrote = true
        connection.processEvents()
      }
      if wrote { context.flush() }
    } while flushesAgain
    isFlushing = false
    if failure != nil || connection.http2.isFinished
      || (connection.isClosing && connection.isIdle)
    {
      context.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    driver.onFlush = nil
    driver.onClose = nil
    connection.onTimer = nil
    timer?.cancel()
    connection.connectionLost(failure ?? reason)
  }

  /// Why the connection ended, as far as the server has said.
  private var reason: String {
    guard let goAway = connection.goAway else { return "the connection to the server was lost" }
    let words = goAway.text.isEmpty ? "" : ", \"\(goAway.text)\""
    return "the server closed the connection: GOAWAY, HTTP/2 error code \(goAway.code)\(words)"
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if failure == nil { failure = "the connection to the server failed: \(error)" }
    context.close(promise: nil)
  }
}
