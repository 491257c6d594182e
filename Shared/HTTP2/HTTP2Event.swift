/// What happened on a connection; read with `nextEvent` once `receive` or `output` has returned, never inside a callback.
package struct HTTP2Event {
  package enum Kind: UInt8, Sendable {
    /// A header block has come: `block`, and `endStream`.
    case headers
    /// Bytes have come into `stream.unread`; one event however many frames they took. `endStream` may be set.
    case data
    /// The stream is over; `code` is 0 for a plain end. The owner must give it back by `release`.
    case closed
    /// The bytes that were to be sent have been taken, as asked by `notifyWhenDrained`.
    case drained
    /// The peer will take no new streams: `code`, and `lastStreamID`.
    case goAway
    /// The peer's SETTINGS have come.
    case settings
    /// The peer has answered our PING.
    case pingAcknowledged
  }

  package internal(set) var kind: Kind
  package internal(set) var endStream = false
  package internal(set) var stream: StreamPointer?
  package internal(set) var block = HeaderBlock()
  package internal(set) var code: UInt32 = 0
  package internal(set) var lastStreamID: Int32 = 0
}

/// The queue between nghttp2's callbacks and the owner. Raw memory for the same reason as `HTTP2Stream`.
struct EventQueue {
  private var storage: UnsafeMutablePointer<HTTP2Event>
  private var capacity: Int
  private var head = 0
  private var tail = 0

  init() {
    capacity = 64
    storage = .allocate(capacity: capacity)
  }

  @inline(__always)
  mutating func push(_ event: HTTP2Event) {
    if tail == capacity { grow() }
    (storage + tail).initialize(to: event)
    tail &+= 1
  }

  @inline(__always)
  mutating func pop() -> HTTP2Event? {
    if head == tail {
      head = 0
      tail = 0
      return nil
    }
    let event = storage[head]
    head &+= 1
    return event
  }

  @inline(never)
  private mutating func grow() {
    let count = tail - head
    let grown = count * 2 > capacity ? capacity * 2 : capacity
    let fresh = UnsafeMutablePointer<HTTP2Event>.allocate(capacity: grown)
    fresh.update(from: storage + head, count: count)
    storage.deallocate()
    storage = fresh
    capacity = grown
    head = 0
    tail = count
  }

  func deallocate() { storage.deallocate() }
}
