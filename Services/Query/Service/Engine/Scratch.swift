/// Memory of one query that hot loops read and write without bounds checks and counting of references.
///
/// Unchecked: whoever hands it to several threads sees to it that none writes while another one reads.
final class Scratch<Element: BitwiseCopyable>: @unchecked Sendable {
  let count: Int
  let pointer: UnsafeMutablePointer<Element>

  init(repeating value: Element, count: Int) {
    self.count = count
    pointer = .allocate(capacity: max(count, 1))
    pointer.initialize(repeating: value, count: count)
  }

  init(_ values: [Element]) {
    count = values.count
    pointer = .allocate(capacity: max(count, 1))
    values.withUnsafeBufferPointer { source in
      if let base = source.baseAddress { pointer.initialize(from: base, count: count) }
    }
  }

  /// Of which nothing is known: whatever is read must have been written.
  init(uninitialized count: Int) {
    self.count = count
    pointer = .allocate(capacity: max(count, 1))
  }

  /// The first so many elements of another one, and so many more that are `rest`.
  convenience init(_ other: Scratch, first: Int, _ rest: Element, more: Int) {
    precondition(first <= other.count)
    self.init(uninitialized: first + more)
    pointer.initialize(from: other.pointer, count: first)
    (pointer + first).initialize(repeating: rest, count: more)
  }

  convenience init(_ other: Scratch, first: Int) {
    precondition(first <= other.count)
    self.init(uninitialized: first)
    pointer.initialize(from: other.pointer, count: first)
  }

  deinit { pointer.deallocate() }

  var byteCount: Int { count * MemoryLayout<Element>.stride }

  /// For the cold paths.
  subscript(_ index: Int) -> Element {
    get {
      precondition(index >= 0 && index < count)
      return pointer[index]
    }
    set {
      precondition(index >= 0 && index < count)
      pointer[index] = newValue
    }
  }

  var values: [Element] { Array(UnsafeBufferPointer(start: pointer, count: count)) }
}
