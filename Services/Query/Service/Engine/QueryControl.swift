package import RPC
import Synchronization

/// Ends a query early and bounds its memory. One per query.
package final class QueryControl: Sendable {
  private let deadline: Deadline?
  private let cancelled = Atomic<Bool>(false)
  private let bytes = Atomic<Int>(0)
  let bytesMax: Int
  /// What the query did, where somebody asked for that.
  let profile: QueryProfile?

  package init(deadline: Deadline? = nil, bytesMax: Int? = nil, profile: QueryProfile? = nil) {
    self.deadline = deadline
    self.profile = profile
    self.bytesMax = bytesMax ?? Limits.queryBytesMax
  }

  package func cancel() { cancelled.store(true, ordering: .relaxed) }

  /// To be called between blocks of work.
  func check() throws(QueryError) {
    if cancelled.load(ordering: .relaxed) {
      throw QueryError(.cancelled, "the caller gave the query up")
    }
    if let deadline, deadline.hasPassed {
      throw QueryError(.deadlineExceeded, "the query did not end before its deadline")
    }
  }

  /// Counts memory that the query is about to hold.
  func charge(_ count: Int, for what: String) throws(QueryError) {
    let total = bytes.wrappingAdd(count, ordering: .relaxed).newValue
    guard total <= bytesMax else {
      throw QueryError(
        .resourceExhausted,
        "the query needs more than \(bytesMax) bytes for \(what): ask for a shorter range or fewer values")
    }
  }

  /// Runs one operator of the plan, timed where the query is explained.
  ///
  /// - Parameters:
  ///   - name: a few fixed words: `read users`, `scan`, `rank`.
  ///   - detail: for people: columns, predicate, the way that was chosen.
  func operation<Result>(
    _ name: StaticString, _ detail: @autoclosure () -> String = "", rows: Int = 0,
    _ body: () throws -> Result
  ) rethrows -> Result {
    guard let profile else { return try body() }
    let number = profile.begin(name, detail(), rows: rows)
    defer { profile.end(number) }
    return try body()
  }

  func release(_ count: Int) { _ = bytes.wrappingSubtract(count, ordering: .relaxed) }
}
