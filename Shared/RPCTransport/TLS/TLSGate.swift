internal import NIOCore
internal import NIOSSL
internal import NIOTLS
internal import RPC

/// Stands between TLS and HTTP/2: lets nothing through until TLS stands with ALPN `h2`, and closes what does not get there.
final class TLSGate: ChannelDuplexHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let tls: TLSContext
  private let handshakeMilliseconds: Int64
  /// Told once, where the connection never gets to HTTP/2.
  private let onFailure: (TLSProblem) -> Void
  private var isOpen = false
  private var isOver = false
  private var timeout: Scheduled<Void>?

  init(
    _ tls: TLSContext, handshakeMilliseconds: Int, onFailure: @escaping (TLSProblem) -> Void = { _ in }
  ) {
    self.tls = tls
    self.handshakeMilliseconds = Int64(handshakeMilliseconds)
    self.onFailure = onFailure
  }

  func channelActive(context: ChannelHandlerContext) {
    let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
    timeout = context.eventLoop.scheduleTask(in: .milliseconds(handshakeMilliseconds)) {
      let (gate, context) = bound.value
      gate.fail("no TLS handshake within \(gate.handshakeMilliseconds) ms", context)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case .handshakeCompleted(let agreed)? = event as? TLSUserEvent, !isOpen else {
      return context.fireUserInboundEventTriggered(event)
    }
    guard agreed == "h2" else { return fail("the peer does not offer h2 by ALPN", context) }
    isOpen = true
    timeout?.cancel()
    tls.handshakeEnded(context.channel, well: true)
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if isOpen { context.fireChannelRead(data) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    if isOpen { context.fireChannelReadComplete() }
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if isOpen { context.fireChannelWritabilityChanged() }
  }

  /// TLS takes every write without a bound until it is flushed; only then the channel tells that it is full.
  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    context.writeAndFlush(data, promise: promise)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    // Many close without saying so; HTTP/2 tells whether something was cut off.
    if case NIOSSLError.uncleanShutdown = error { return }
    if isOpen { return context.fireErrorCaught(error) }
    fail("\(error)", context)
  }

  func channelInactive(context: ChannelHandlerContext) {
    fail("the connection was closed", context)
    context.fireChannelInactive()
  }

  private func fail(_ reason: String, _ context: ChannelHandlerContext) {
    timeout?.cancel()
    guard !isOpen, !isOver else { return }
    isOver = true
    tls.handshakeEnded(context.channel, well: false)
    onFailure(TLSProblem(description: "TLS: \(reason)"))
    context.close(promise: nil)
  }
}

extension TLSContext {
  /// Puts TLS and the gate in front of a connection's own handlers, on its event loop.
  ///
  /// - Parameter host: of a server to verify; ignored on a server.
  func addHandlers(
    to channel: any NIOCore.Channel, host: String = "", handshakeMilliseconds: Int,
    onFailure: @escaping (TLSProblem) -> Void = { _ in }
  ) throws {
    let handler: any ChannelHandler
    switch role {
    case .server: handler = NIOSSLServerHandler(context: current)
    case .client:
      // An address cannot be asked for by name; it is compared with those in the certificate.
      let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
      handler = try NIOSSLClientHandler(context: current, serverHostname: isAddress ? nil : host)
    }
    handshakeBegins(channel)
    try channel.pipeline.syncOperations.addHandler(handler)
    try channel.pipeline.syncOperations.addHandler(
      TLSGate(self, handshakeMilliseconds: handshakeMilliseconds, onFailure: onFailure))
  }
}
