#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

internal import Synchronization

/// A method as a server offers it.
package final class RoutedMethod: Sendable {
  package let descriptor: MethodDescriptor
  let implementation: MethodHandler.Implementation
  package let statistics: MethodStatistics
  /// Calls to come that run off the event loop, because an answer was large: encoding the next may be work for milliseconds too.
  private let largeAnswers = Atomic<Int>(0)
  private static let callsAfterLargeAnswer = 64
  fileprivate let path: [UInt8]

  init(_ handler: MethodHandler, loops: Int) {
    statistics = MethodStatistics(loops: loops)
    descriptor = handler.method
    implementation = handler.implementation
    path = Array(handler.method.path.utf8)
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

/// Finds the method of a path without making a `String`: an open-addressed table over the path's bytes.
package final class Router: Sendable {
  private let table: [RoutedMethod?]
  private let mask: Int
  package let methods: [RoutedMethod]
  package let serviceNames: [String]

  /// Two handlers for one path are a bug of ours.
  ///
  /// - Parameter loops: event loops whose calls are counted apart.
  package init(_ services: [any ServiceHandlers], loops: Int = 1) {
    let methods = services.flatMap(\.methodHandlers).map { RoutedMethod($0, loops: loops) }
    var size = 16
    while size < methods.count * 4 { size *= 2 }
    var table = [RoutedMethod?](repeating: nil, count: size)
    for method in methods {
      var slot = method.path.withUnsafeBytes(Self.hash) & (size - 1)
      while let other = table[slot] {
        precondition(other.path != method.path, "two handlers for \(method.descriptor.path)")
        slot = (slot + 1) & (size - 1)
      }
      table[slot] = method
    }
    self.table = table
    self.mask = size - 1
    self.methods = methods
    self.serviceNames = services.map { type(of: $0).serviceName }
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
    var slot = Self.hash(path) & mask
    while let candidate = table[slot] {
      let matches = candidate.path.withUnsafeBytes {
        $0.count == path.count
          && memcmp($0.baseAddress.unsafelyUnwrapped, path.baseAddress.unsafelyUnwrapped, path.count)
            == 0
      }
      if matches { return Unmanaged.passUnretained(candidate) }
      slot = (slot &+ 1) & mask
    }
    return nil
  }
}
