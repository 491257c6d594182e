internal import CNghttp2

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Streams that wait for their next call, the one that was freed last first: its memory is still in the processor's cache.
struct StreamPool {
  private var first: StreamPointer?
  private var count = 0

  @inline(__always)
  mutating func take() -> StreamPointer {
    guard let stream = first else { return Self.make() }
    first = stream.pointee.nextFree
    count &-= 1
    return stream
  }

  @inline(never)
  private static func make() -> StreamPointer {
    let stream = StreamPointer.allocate(capacity: 1)
    stream.initialize(to: HTTP2Stream())
    return stream
  }

  /// - Parameter kept: with more than these the memory goes back to the allocator.
  @inline(__always)
  mutating func give(_ stream: StreamPointer, kept: Int) {
    guard count < kept else { return Self.free(stream) }
    stream.pointee.nextFree = first
    first = stream
    count &+= 1
  }

  @inline(never)
  private static func free(_ stream: StreamPointer) {
    stream.pointee.deallocate()
    stream.deallocate()
  }

  mutating func removeAll() {
    while count > 0 { Self.free(take()) }
  }
}

/// The memory of all sessions of one event loop: free lists by size class, because nghttp2 allocates several small objects per call
/// (measured: a quarter of its time in malloc), the free streams, and what its peers may do together. Not safe for two threads.
package final class SessionMemory {
  /// Sizes up to 32 * (classes - 1) are pooled.
  private static let classes = 17
  /// The bytes before each block that hold its class, or its size where it is not pooled. 16 keeps the alignment.
  private static let header = 16

  typealias FreeList = UnsafeMutablePointer<UnsafeMutableRawPointer?>

  private let lists: FreeList
  let table: UnsafeMutablePointer<nghttp2_mem>
  let streams: UnsafeMutablePointer<StreamPool>
  let resets: UnsafeMutablePointer<CommonMeter>

  package init() {
    resets = .allocate(capacity: 1)
    resets.initialize(to: CommonMeter())
    streams = .allocate(capacity: 1)
    streams.initialize(to: StreamPool())
    lists = .allocate(capacity: Self.classes)
    lists.initialize(repeating: nil, count: Self.classes)
    table = .allocate(capacity: 1)
    table.initialize(
      to: nghttp2_mem(
        mem_user_data: UnsafeMutableRawPointer(lists),
        malloc: { size, lists in SessionMemory.allocate(size, lists) },
        free: { block, lists in SessionMemory.free(block, lists) },
        calloc: { count, size, lists in
          let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
          guard !overflow, let block = SessionMemory.allocate(bytes, lists) else { return nil }
          memset(block, 0, bytes)
          return block
        },
        realloc: { block, size, lists in SessionMemory.reallocate(block, size, lists) }))
  }

  deinit {
    for index in 0..<Self.classes {
      while let block = lists[index] {
        lists[index] = block.load(as: UnsafeMutableRawPointer?.self)
        Glibc.free(block - Self.header)
      }
    }
    lists.deallocate()
    table.deallocate()
    streams.pointee.removeAll()
    streams.deallocate()
    resets.deallocate()
  }

  @inline(__always)
  private static func sizeClass(_ size: Int) -> Int { max(1, (size &+ 31) >> 5) }

  @inline(__always)
  private static func allocate(
    _ size: Int, _ context: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    let sizeClass = sizeClass(size)
    guard sizeClass < classes else {
      guard size < Int.max - header, let block = malloc(size &+ header) else { return nil }
      block.storeBytes(of: size &+ classes, as: Int.self)
      return block + header
    }
    let lists = context.unsafelyUnwrapped.assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
    if let block = lists[sizeClass] {
      lists[sizeClass] = block.load(as: UnsafeMutableRawPointer?.self)
      return block
    }
    guard let block = malloc(sizeClass << 5 &+ header) else { return nil }
    block.storeBytes(of: sizeClass, as: Int.self)
    return block + header
  }

  @inline(__always)
  private static func free(_ block: UnsafeMutableRawPointer?, _ context: UnsafeMutableRawPointer?) {
    guard let block else { return }
    let tag = (block - header).load(as: Int.self)
    guard tag < classes else {
      Glibc.free(block - header)
      return
    }
    let lists = context.unsafelyUnwrapped.assumingMemoryBound(to: UnsafeMutableRawPointer?.self)
    block.storeBytes(of: lists[tag], as: UnsafeMutableRawPointer?.self)
    lists[tag] = block
  }

  private static func reallocate(
    _ block: UnsafeMutableRawPointer?, _ size: Int, _ context: UnsafeMutableRawPointer?
  ) -> UnsafeMutableRawPointer? {
    guard let block else { return allocate(size, context) }
    let tag = (block - header).load(as: Int.self)
    let old = tag < classes ? tag << 5 : tag &- classes
    if size <= old { return block }
    guard let fresh = allocate(size, context) else { return nil }
    memcpy(fresh, block, old)
    free(block, context)
    return fresh
  }
}
