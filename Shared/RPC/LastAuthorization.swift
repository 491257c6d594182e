internal import HTTP2

/// The last `authorization` of a connection that was good, for which method, and whose it is: most connections call one method with one
/// token, and looking that up anew takes locks and counts references.
struct LastAuthorization {
  private static let words = 12

  private var principal: Principal?
  private var method: Unmanaged<RoutedMethod>?
  private var epoch = 0
  /// The header's length, its bytes by eights, and the last eight.
  private var count = 0
  private var bytes = InlineArray<12, UInt64>(repeating: 0)
  private var tail: UInt64 = 0

  /// Who was let through with the same bytes for the same method, if the answer still holds.
  @inline(__always)
  func principal(
    _ routed: RoutedMethod, _ header: UnsafeRawBufferPointer?, epoch now: Int?
  ) -> Principal? {
    guard let principal, let header, header.count == count, now == epoch,
      method?.toOpaque() == Unmanaged.passUnretained(routed).toOpaque()
    else { return nil }
    // The same time wherever the bytes differ.
    var difference = header.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self) ^ tail
    for index in 0..<(count / 8) {
      difference |= header.loadUnaligned(fromByteOffset: 8 &* index, as: UInt64.self) ^ bytes[index]
    }
    return difference == 0 ? principal : nil
  }

  /// - Parameter epoch: the authorizer's before it was asked.
  mutating func note(
    _ routed: RoutedMethod, _ header: UnsafeRawBufferPointer?, epoch: Int?, _ principal: Principal
  ) {
    guard let header, let epoch, principal.isLasting, (8...(8 * Self.words)).contains(header.count)
    else { return }
    self.principal = principal
    self.epoch = epoch
    method = Unmanaged.passUnretained(routed)
    count = header.count
    for index in 0..<(count / 8) {
      bytes[index] = header.loadUnaligned(fromByteOffset: 8 &* index, as: UInt64.self)
    }
    tail = header.loadUnaligned(fromByteOffset: count &- 8, as: UInt64.self)
  }
}

/// What the fields of one request of a connection came to, where it was let through: of a request with the same fields it is known
/// without a look at them.
struct LastHead {
  private(set) var method: Unmanaged<RoutedMethod>?
  private(set) var principal: Principal?
  private(set) var flags: UInt32 = 0
  private(set) var timeoutNanoseconds: Int64?
  private var generation = 0
  private var epoch = 0

  /// - Parameter epoch: the authorizer's now.
  @inline(__always)
  func holds(for stream: StreamPointer, epoch now: Int?) -> Bool {
    stream.pointee.fieldsGeneration == generation && generation != 0 && now == epoch
  }

  /// - Parameter epoch: the authorizer's before it was asked.
  @inline(__always)
  mutating func note(
    _ stream: StreamPointer, _ routed: RoutedMethod, _ head: RequestHead, epoch: Int?, _ principal: Principal
  ) {
    guard stream.pointee.fieldsGeneration != 0, let epoch, principal.isLasting, head.flags.contains(.te) else { return }
    generation = stream.pointee.fieldsGeneration
    self.epoch = epoch
    self.principal = principal
    method = Unmanaged.passUnretained(routed)
    flags = stream.pointee.userFlags
    timeoutNanoseconds = head.timeoutNanoseconds
  }
}
