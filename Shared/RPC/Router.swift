#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

internal import Synchronization

/// A method as a server offers it.
package final class RoutedMethod: Sendable {
  enum Kind { case loop, unary, streaming }

  package let descriptor: MethodDescriptor
  let implementation: MethodHandler.Implementation
  /// The handler of `.loop`, found without taking the enumeration apart, which would count references.
  let onLoop: @Sendable (LoopCall) -> Void
  let kind: Kind
  let gate: CallGate?
  package let statistics: MethodStatistics
  /// Calls to come that run off the event loop, because an answer was large: encoding the next may be work for milliseconds too.
  private let largeAnswers = Atomic<Int>(0)
  private static let callsAfterLargeAnswer = 64

  init(_ handler: MethodHandler, gate: CallGate?, loops: Int) {
    self.gate = gate
    statistics = MethodStatistics(loops: loops)
    descriptor = handler.method
    implementation = handler.implementation
    (kind, onLoop) =
      switch handler.implementation {
      case .loop(let body): (.loop, body)
      case .unary: (.unary, { _ in preconditionFailure("an async handler was called on the loop") })
      case .streaming: (.streaming, { _ in preconditionFailure("a stream was called on the loop") })
      }
  }

  /// Notes the size of an answer that an `async` handler gave.
  @inline(__always)
  func noteAnswer(_ bytes: Int, loopBytesMax: Int) {
    if bytes > loopBytesMax {
      largeAnswers.store(Self.callsAfterLargeAnswer, ordering: .relaxed)
    } else if largeAnswers.load(ordering: .relaxed) > 0 {
      largeAnswers.wrappingSubtract(1, ordering: .relaxed)
    }
  }

  /// Whether the method's handlers should run off the event loop for now.
  @inline(__always)
  var hasLargeAnswers: Bool { largeAnswers.load(ordering: .relaxed) > 0 }
}

/// The methods of a server.
// @unchecked: the table is written once, here, and only read afterwards.
package final class Router: @unchecked Sendable {
  let table: RouteTable
  package let methods: [RoutedMethod]
  package let serviceNames: [String]

  /// Two handlers for one path are a bug of ours.
  ///
  /// - Parameter loops: event loops whose calls are counted apart.
  package init(_ services: [any ServiceHandlers], loops: Int = 1) {
    methods = services.flatMap { service in
      service.methodHandlers.map {
        RoutedMethod($0, gate: service.gate(of: $0.method), loops: loops)
      }
    }
    table = RouteTable(methods)
    serviceNames = services.map { type(of: $0).serviceName }
  }

  deinit { table.deallocate() }
}

/// Finds the method of a path without making a `String`: an open-addressed table over the path's bytes, in raw memory, so that a
/// look-up counts no references.
// @unchecked: the memory is written once, by `init`, and lives as long as its router.
struct RouteTable: @unchecked Sendable {
  private struct Slot {
    let path: UnsafeMutableRawBufferPointer
    let method: Unmanaged<RoutedMethod>
  }

  private let slots: UnsafeMutablePointer<Slot?>
  private let mask: Int

  init(_ methods: [RoutedMethod]) {
    var size = 16
    while size < methods.count * 4 { size *= 2 }
    slots = .allocate(capacity: size)
    slots.initialize(repeating: nil, count: size)
    mask = size - 1
    for method in methods {
      let bytes = Array(method.descriptor.path.utf8)
      let path = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
      path.copyBytes(from: bytes)
      var slot = Self.hash(UnsafeRawBufferPointer(path)) & mask
      while let other = slots[slot] {
        precondition(!other.path.elementsEqual(bytes), "two handlers for \(method.descriptor.path)")
        slot = (slot + 1) & mask
      }
      slots[slot] = Slot(path: path, method: Unmanaged.passUnretained(method))
    }
  }

  func deallocate() {
    for index in 0...mask { slots[index]?.path.deallocate() }
    slots.deallocate()
  }

  @inline(__always)
  private static func hash(_ path: UnsafeRawBufferPointer) -> Int {
    var hash: UInt64 = UInt64(path.count) &* 0x9E37_79B9_7F4A_7C15
    guard path.count >= 16, let base = path.baseAddress else {
      for byte in path { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
      return Int(truncatingIfNeeded: hash >> 20)
    }
    // The ends differ where methods differ: the last 16 bytes hold the method's name.
    let last = base + path.count - 16
    hash ^= last.loadUnaligned(as: UInt64.self)
    hash = hash &* 0xFF51_AFD7_ED55_8CCD
    hash ^= hash >> 32
    hash ^= (last + 8).loadUnaligned(as: UInt64.self)
    hash = hash &* 0xC4CE_B9FE_1A85_EC53
    return Int(truncatingIfNeeded: hash >> 33)
  }

  /// nil: no such method.
  @inline(__always)
  func method(_ path: UnsafeRawBufferPointer) -> Unmanaged<RoutedMethod>? {
    guard let base = path.baseAddress else { return nil }
    var slot = Self.hash(path) & mask
    while let candidate = slots[slot] {
      if candidate.path.count == path.count,
        memcmp(candidate.path.baseAddress.unsafelyUnwrapped, base, path.count) == 0
      {
        return candidate.method
      }
      slot = (slot &+ 1) & mask
    }
    return nil
  }
}
