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
  private var output: OutputWriter
  /// See `SharedReadAllocator`.
  private var firstRead: ByteBuffer?
  private var context: ChannelHandlerContext?
  /// What the socket has taken, at the last look; all of `output.bytes`: nothing waited.
  private var delivered = 0
  /// Its place among those whose timers are looked at.
  var tickIndex: Int?

  init(core: ServerCore, resources: LoopResources, registry: ConnectionRegistry) {
    self.core = core
    self.resources = resources
    self.registry = registry
    output = OutputWriter(resources.output)
    driver = ChannelDriver(resources)
  }

  func channelActive(context: ChannelHandlerContext) {
    let peer = context.remoteAddress.map(Self.text) ?? "unknown"
    guard
      let connection = try? ServerConnection(
        core: core, driver: driver, peer: peer, loop: resources.index, memory: resources.memory, pace: resources.pace)
    else {
      context.close(promise: nil)
      return
    }
    self.connection = connection
    connection.localAddress = context.localAddress.map(Self.text) ?? ""
    let bound = NIOLoopBound(context, eventLoop: context.eventLoop)
    driver.onFlush = { [weak self] in self?.flushOutput(bound.value) }
    driver.onClose = { bound.value.close(promise: nil) }
    registry.add(connection, driver)
    self.context = context
    resources.add(self)
    flushOutput(context)
  }

  /// Whether it waits in the loop's list for another turn to write.
  var writesLater = false
  /// Within `flushOutput`. What NIO calls in the midst of a write is done behind it: the buffer is in use, and the channel may be
  /// closed by then.
  private var isFlushing = false
  private var flushesAgain = false
  /// The last output is on its way, and the end behind it.
  private var isEnding = false

  /// Another turn to write.
  func goOn() {
    writesLater = false
    if let context { flushOutput(context) }
  }

  /// Looks at the connection's timers.
  func tick(_ now: Int64) {
    guard let connection, let context else { return }
    var waiting = 0
    if delivered != output.bytes {
      // Not known: counts as nothing waiting, so that nobody is cut for it.
      waiting = (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0
      delivered = output.bytes - waiting
    }
    connection.tick(now: now, delivered: delivered, waiting: waiting)
  }

  static func text(_ address: SocketAddress) -> String {
    guard let ip = address.ipAddress, let port = address.port else { return "\(address)" }
    return "\(ip):\(port)"
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard let connection, !connection.mustClose else { return }
    let buffer = unwrapInboundIn(data)
    if firstRead == nil { firstRead = buffer }
    driver.isReading = true
    defer { resources.input.give(buffer) }
    do {
      try buffer.withUnsafeReadableBytes { bytes throws(HTTP2Error) in
        try connection.receive(bytes)
      }
    } catch {
      // A GOAWAY that names the reason may wait in the output; nothing more is read.
      connection.failed(error)
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
    guard let connection, !writesLater else { return }
    guard !isFlushing else {
      flushesAgain = true
      return
    }
    isFlushing = true
    let share = connection.mustClose ? Int.max : resources.outputShare
    var written = 0
    while written < share {
      let count = output.write(connection.http2, to: context, driver, bytesMax: share &- written)
      guard count > 0 else { break }
      written &+= count
      // Sending closes streams, and what that sets free may be sent at once.
      connection.processEvents()
      connection.checkConduct()
    }
    if written > 0 { context.flush() }
    isFlushing = false
    let again = flushesAgain
    flushesAgain = false
    // Writing may have found the connection broken.
    guard self.connection != nil else { return }
    // Who has more than his share of the turn goes on behind the others.
    if written >= share || again, driver.isWritable { resources.continueLater(self) }
    if connection.mustClose {
      context.close(promise: nil)
    } else if connection.http2.isFinished || connection.isDrained {
      end(context)
    }
  }

  /// Closes once the socket has taken what was written: a plain close would drop it.
  private func end(_ context: ChannelHandlerContext) {
    guard !isEnding else { return }
    isEnding = true
    let channel = context.channel
    let taken = context.eventLoop.makePromise(of: Void.self)
    taken.futureResult.whenComplete { _ in channel.close(promise: nil) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: taken)
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard let connection else { return }
    self.connection = nil
    self.context = nil
    driver.onFlush = nil
    driver.onClose = nil
    resources.remove(self)
    connection.connectionLost()
    registry.remove(connection)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // A socket error: channelInactive follows and tells the calls.
    context.close(promise: nil)
  }
}
