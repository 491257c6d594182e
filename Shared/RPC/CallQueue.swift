/// The calls of a connection that wait for their turn, in order. One that is taken out of the middle leaves a gap.
struct CallQueue {
  private var calls: [ClientCall?] = []
  private var head = 0
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// Those that wait, in order.
  var waiting: [ClientCall] { calls[head...].compactMap(\.self).filter(\.isQueued) }

  mutating func append(_ call: ClientCall) {
    call.isQueued = true
    calls.append(call)
    count += 1
  }

  mutating func popFirst() -> ClientCall? {
    while head < calls.count {
      let call = calls[head]
      calls[head] = nil
      head += 1
      if head == calls.count { clear() }
      guard let call, call.isQueued else { continue }
      call.isQueued = false
      count -= 1
      return call
    }
    return nil
  }

  /// Cost: constant, now and then linear.
  mutating func remove(_ call: ClientCall) {
    precondition(call.isQueued, "a call is taken out of a queue that it is not in")
    call.isQueued = false
    count -= 1
    // Without this a queue whose calls all give up would keep them until its turn comes.
    if calls.count - head > 2 * count + 64 {
      calls = waiting
      head = 0
    }
  }

  private mutating func clear() {
    calls.removeAll(keepingCapacity: true)
    head = 0
  }
}
