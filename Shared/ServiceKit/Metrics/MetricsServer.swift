internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Answers `GET /metrics` over HTTP/1.1 on a port of its own, on one thread, one request per connection.
package final class MetricsServer: Sendable {
  static let connectionsMax = 32
  static let requestBytesMax = 8 * 1024
  /// From accept to close, s.
  static let connectionSeconds: Int64 = 5

  private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
  private let listener = Mutex<(any Channel)?>(nil)
  private let render: @Sendable () -> String

  /// - Parameter render: the whole text; called at each scrape on the server's thread.
  package init(render: @escaping @Sendable () -> String) { self.render = render }

  /// - Returns: the port.
  /// - Throws: the system's error where the address cannot be had.
  package func start(host: String, port: Int) async throws -> Int {
    let render = render
    let open = OpenConnections()
    let channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard open.enter() else { throw ChannelError.operationUnsupported }
          channel.closeFuture.whenComplete { _ in open.leave() }
          try channel.pipeline.syncOperations.addHandler(MetricsHandler(render: render))
        }
      }
      .bind(host: host, port: port).get()
    listener.withLock { $0 = channel }
    return channel.localAddress?.port ?? port
  }

  package func stop() async {
    let channel = listener.withLock { listener in
      defer { listener = nil }
      return listener
    }
    // The process ends: whatever fails here, the system closes the rest.
    try? await channel?.close()
    try? await group.shutdownGracefully()
  }
}

/// Counts connections, so that no more than the bound are open.
private final class OpenConnections: Sendable {
  private let count = Mutex(0)

  func enter() -> Bool {
    count.withLock { count in
      guard count < MetricsServer.connectionsMax else { return false }
      count += 1
      return true
    }
  }

  func leave() { count.withLock { $0 -= 1 } }
}

/// Reads one request's head, answers, closes.
private final class MetricsHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let render: @Sendable () -> String
  private var request: [UInt8] = []
  private var answered = false
  private var timeout: Scheduled<Void>?

  init(render: @escaping @Sendable () -> String) { self.render = render }

  func channelActive(context: ChannelHandlerContext) {
    let channel = context.channel
    timeout = context.eventLoop.scheduleTask(in: .seconds(MetricsServer.connectionSeconds)) {
      channel.close(promise: nil)
    }
    context.fireChannelActive()
  }

  func channelInactive(context: ChannelHandlerContext) {
    timeout?.cancel()
    context.fireChannelInactive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !answered else { return }
    request += unwrapInboundIn(data).readableBytesView
    if request.count > MetricsServer.requestBytesMax {
      answer("431 Request Header Fields Too Large", "larger than allowed\n", context)
    } else if isComplete {
      route(context)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

  private var isComplete: Bool {
    let end = Array("\r\n\r\n".utf8)
    guard request.count >= end.count else { return false }
    return (0...(request.count - end.count)).contains { request[$0...].starts(with: end) }
  }

  private func route(_ context: ChannelHandlerContext) {
    let line = request.prefix { $0 != UInt8(ascii: "\r") }
    let parts = line.split(separator: UInt8(ascii: " ")).map { String(decoding: $0, as: UTF8.self) }
    guard parts.count == 3, parts[2].hasPrefix("HTTP/1.") else {
      return answer("400 Bad Request", "not HTTP/1.1\n", context)
    }
    guard parts[0] == "GET" else { return answer("405 Method Not Allowed", "GET only\n", context) }
    guard parts[1] == "/metrics" || parts[1].hasPrefix("/metrics?") else {
      return answer("404 Not Found", "only /metrics is here\n", context)
    }
    answer("200 OK", render(), context)
  }

  private func answer(_ status: String, _ body: String, _ context: ChannelHandlerContext) {
    answered = true
    let head = """
      HTTP/1.1 \(status)\r
      Content-Type: text/plain; version=0.0.4; charset=utf-8\r
      Content-Length: \(body.utf8.count)\r
      Connection: close\r
      \r

      """
    var buffer = context.channel.allocator.buffer(capacity: head.utf8.count + body.utf8.count)
    buffer.writeString(head)
    buffer.writeString(body)
    let channel = context.channel
    context.writeAndFlush(wrapOutboundOut(buffer)).whenComplete { _ in channel.close(promise: nil) }
  }
}
