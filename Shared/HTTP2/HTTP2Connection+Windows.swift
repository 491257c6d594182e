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

  /// Bytes of the connection's receive window that have come and may not be sent again yet.
  package var unconsumedBytes: Int {
    state.pointee.isOver
      ? 0 : Int(nghttp2_session_get_effective_recv_data_length(session)) &- state.pointee.creditDue
  }

  /// Whether the connection's receive window stays as the peer uses it up, however much is consumed, until `giveCreditBack`. Windows
  /// of streams open as ever. To stop gives back what was withheld.
  package var withholdsCredit: Bool {
    get { state.pointee.withholdsCredit }
    set {
      state.pointee.withholdsCredit = newValue
      if !newValue { giveCreditBack() }
    }
  }

  /// Bytes that were consumed and that the peer may not send on yet.
  @inline(__always)
  package var withheldBytes: Int { state.pointee.withheldBytes }

  /// Lets the peer send on what was withheld.
  package func giveCreditBack() {
    let bytes = state.pointee.withheldBytes
    guard bytes > 0, !state.pointee.isOver else { return }
    state.pointee.withheldBytes = 0
    nghttp2_session_consume_connection(session, bytes)
  }

  /// Bytes that we let the peer send on the whole connection now.
  package var receiveWindowBytes: Int {
    state.pointee.isOver ? 0 : Int(nghttp2_session_get_local_window_size(session))
  }
}
