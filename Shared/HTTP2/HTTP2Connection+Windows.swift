internal import CNghttp2

extension HTTP2Connection {
  /// Bytes that the peer lets us send on the whole connection now.
  package var sendWindowBytes: Int {
    state.pointee.isOver ? 0 : Int(nghttp2_session_get_remote_window_size(session))
  }

  /// Bytes that we let the peer send on the whole connection now.
  package var receiveWindowBytes: Int {
    state.pointee.isOver ? 0 : Int(nghttp2_session_get_local_window_size(session))
  }
}
