/// A growing run of plain values in raw memory. Never shrinks, so that a reader in use allocates nothing.
struct RawList<Element: BitwiseCopyable>: ~Copyable {
  private(set) var base: UnsafeMutablePointer<Element>
  private(set) var count = 0
  private var capacity: Int

  init(capacity: Int) {
    precondition(capacity > 0)
    self.capacity = capacity
    base = .allocate(capacity: capacity)
  }

  deinit { base.deallocate() }

  @inline(__always)
  mutating func append(_ element: Element) {
    if count == capacity { grow(to: count + 1) }
    (base + count).initialize(to: element)
    count &+= 1
  }

  /// Room for `extra` more, not initialised; the caller fills it.
  mutating func extend(by extra: Int) -> UnsafeMutablePointer<Element> {
    if count + extra > capacity { grow(to: count + extra) }
    defer { count += extra }
    return base + count
  }

  @inline(__always)
  mutating func removeAll() { count = 0 }

  mutating func removeLast(_ removed: Int) {
    precondition(removed <= count)
    count -= removed
  }

  private mutating func grow(to needed: Int) {
    let larger = max(needed, capacity * 2)
    let moved = UnsafeMutablePointer<Element>.allocate(capacity: larger)
    moved.moveInitialize(from: base, count: count)
    base.deallocate()
    base = moved
    capacity = larger
  }
}

/// Where a reader puts what it found.
///
/// Bounds, from `EventLimits`: 1,000 events, 64 fields for each, 1,001 contexts of 256 bytes, 16 experiments for each
/// context and what moving them leaves behind: 3 MiB at the worst.
struct BatchArena: ~Copyable {
  var events = RawList<BatchEvent>(capacity: 64)
  var fields = RawList<BatchField>(capacity: 256)
  var contextWords = RawList<UInt64>(capacity: 4 * BatchContext.wordCount)
  var experiments = RawList<BatchExperiment>(capacity: 16)

  mutating func removeAll() {
    events.removeAll()
    fields.removeAll()
    contextWords.removeAll()
    experiments.removeAll()
  }

  /// The number of a new, empty context.
  mutating func addContext() -> Int {
    let number = contextWords.count / BatchContext.wordCount
    let words = contextWords.extend(by: BatchContext.wordCount)
    words.initialize(repeating: 0, count: BatchContext.wordCount)
    return number
  }

  @inline(__always)
  func words(_ context: Int) -> UnsafeMutablePointer<UInt64> {
    contextWords.base + context * BatchContext.wordCount
  }

  /// Sets an experiment's variant; the last one of a name wins. One more than the limit is kept, so that a rule sees it.
  ///
  /// A context's experiments lie in one run: where another context's came between, they move to the end.
  mutating func setExperiment(_ experiment: BatchExperiment, of context: Int, origin: UnsafeRawPointer) {
    let run = ByteSlice(word: words(context)[BatchContext.experimentsWord])
    var first = Int(run.offset)
    let count = Int(run.length)
    for index in first..<first + count
    where Self.equal(experiments.base[index].name, experiment.name, origin) {
      experiments.base[index] = experiment
      return
    }
    guard count <= EventLimits.experimentsMax else { return }
    if count == 0 {
      first = experiments.count
    } else if first + count != experiments.count {
      let moved = experiments.count
      _ = experiments.extend(by: count)
      (experiments.base + moved).update(from: experiments.base + first, count: count)
      first = moved
    }
    experiments.append(experiment)
    words(context)[BatchContext.experimentsWord] =
      ByteSlice(offset: UInt32(first), length: UInt32(count + 1)).word
  }

  private static func equal(_ a: ByteSlice, _ b: ByteSlice, _ origin: UnsafeRawPointer) -> Bool {
    guard a.length == b.length else { return false }
    let left = UnsafeRawBufferPointer(start: origin + Int(a.offset), count: Int(a.length))
    let right = UnsafeRawBufferPointer(start: origin + Int(b.offset), count: Int(b.length))
    return ASCII.equal(left, right)
  }
}
