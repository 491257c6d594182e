internal import CNghttp2

extension HTTP2Connection {
  /// Bytes that the peer lets us send on the whole connection now.
  package var sendWindowBytes: Int {
    state.pointee.isOver ? 0 : Int(nghttp2_session_get_remote_window_size(session))
  }

  /// Changes what the peer may send on the whole connection before it is consumed. A smaller window takes effect as the peer
  /// uses up what it was given; a larger one is told at once.
  package func setReceiveWindow(_ bytes: Int) {
    guard !state.pointee.isOver else { return }
    let result = nghttp2_session_set_local_window_size(
      session, UInt8(NGHTTP2_FLAG_NONE.rawValue), 0, Int32(bytes))
    precondition(result == 0, "nghttp2 took no window of \(bytes) bytes: \(result)")
  }

  /// Bytes that we let the peer send on the whole connection now.
  package var receiveWindowBytes: Int {
    state.pointee.isOver ? 0 : Int(nghttp2_session_get_local_window_size(session))
  }
}
