internal import HTTP2
internal import NIOCore
internal import RPC

/// Joins a NIO channel and a `ServerConnection`: performs, decides nothing.
final class ServerChannelHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let core: ServerCore
  private let driver: ChannelDriver
  private let resources: LoopResources
  private let registry: ConnectionRegistry
  private var connection: ServerConnection?
  private var output = OutputWriter()
  private var failed = false

  init(core: ServerCore, resources: LoopResources, registry: ConnectionRegistry) {
    self.core = core
    self.resources = resources
    self.registry = registry
    driver = ChannelDriver(resources)
  }

  func channelActive(context: ChannelHandlerContext) {
    let peer = context.remoteAddress.map(Self.text) ?? "unknown"
    guard
      let connection = try? ServerConnection(
        core: core, driver: driver, peer: peer, memory: resources.memory)
    else {
      context.close(promise: nil)
      return
    }
    self.connection = connection
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    driver.onFlush = { [weak self] in self?.flushOutput(bound.value) }
    driver.onClose = { bound.value.close(promise: nil) }
    registry.add(connection, driver)
    driver.schedule(afterNanoseconds: Int64(core.limits.prefaceMilliseconds) * 1_000_000) {
      [weak connection] in
      guard let connection, !connection.hasSettings else { return }
      connection.driver.close()
    }
    flushOutput(context)
  }

  private static func text(_ address: SocketAddress) -> String {
    guard let ip = address.ipAddress, let port = address.port else { return "\(address)" }
    return "\(ip):\(port)"
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let connection, !failed else { return }
    let buffer = unwrapInboundIn(data)
    driver.isReading = true
    do {
      try buffer.withUnsafeReadableBytes { bytes throws(HTTP2Error) in
        try connection.receive(bytes)
      }
    } catch {
      // A GOAWAY that names the reason may wait in the output; nothing more is read.
      failed = true
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
    guard let connection else { return }
    var wrote = false
    while output.write(connection.http2, to: context) {
      wrote = true
      // Sending closes streams, and what that sets free may be sent at once.
      connection.processEvents()
    }
    if wrote { context.flush() }
    if failed || connection.http2.isFinished || connection.isDrained {
      context.close(promise: nil)
    }
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard let connection else { return }
    self.connection = nil
    driver.onFlush = nil
    driver.onClose = nil
    connection.connectionLost()
    registry.remove(connection)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A socket error: channelInactive follows and tells the calls.
    context.close(promise: nil)
  }
}
