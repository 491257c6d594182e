internal import HTTP2
internal import NIOCore
internal import RPC

/// Joins a NIO channel and a `ClientConnection`.
final class ClientChannelHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let connection: ClientConnection
  private let driver: ChannelDriver
  private var output = OutputWriter()
  private var failure: String?

  init(_ connection: ClientConnection, _ driver: ChannelDriver) {
    self.connection = connection
    self.driver = driver
  }

  func channelActive(context: ChannelHandlerContext) {
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    driver.onFlush = { [weak self] in self?.flushOutput(bound.value) }
    driver.onClose = { bound.value.close(promise: nil) }
    flushOutput(context)
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
    if context.channel.isWritable { flushOutput(context) }
  }

  private func flushOutput(_ context: ChannelHandlerContext) {
    var wrote = false
    while output.write(connection.http2, to: context) {
      wrote = true
      connection.processEvents()
    }
    if wrote { context.flush() }
    if failure != nil || connection.http2.isFinished
      || (connection.isClosing && connection.isIdle)
    {
      context.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    driver.onFlush = nil
    driver.onClose = nil
    connection.connectionLost(failure ?? "the connection to the server was lost")
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    if failure == nil { failure = "the connection to the server failed: \(error)" }
    context.close(promise: nil)
  }
}
