import Dispatch
import Synchronization

/// Parts of one query on several threads.
enum Blocks {
  /// Runs `body` for 0..<count, on up to so many threads, each number once, and gives the results in the order of the
  /// numbers. The caller's thread is one of them.
  ///
  /// - Throws: the error of the lowest number that failed; parts not yet begun are left out then.
  static func map<Part: Sendable>(
    _ count: Int, threads: Int, _ body: @Sendable (Int) throws -> Part
  ) rethrows -> [Part] {
    if count == 0 { return [] }
    let next = Atomic<Int>(0)
    let failed = Atomic<Bool>(false)
    let results = Mutex([Result<Part, any Error>?](repeating: nil, count: count))
    DispatchQueue.concurrentPerform(iterations: min(count, max(threads, 1))) { _ in
      while !failed.load(ordering: .relaxed) {
        let number = next.wrappingAdd(1, ordering: .relaxed).oldValue
        if number >= count { return }
        let result = Result { try body(number) }
        if case .failure = result { failed.store(true, ordering: .relaxed) }
        results.withLock { $0[number] = result }
      }
    }
    return try results.withLock { results in
      for case .failure(let error)? in results { throw error }
      return try results.compactMap { try $0?.get() }
    }
  }
}
