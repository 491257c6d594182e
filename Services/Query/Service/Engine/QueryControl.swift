package import RPC
import Synchronization

/// Ends a query early and bounds its memory. One per query.
package final class QueryControl: Sendable {
  private let deadline: Deadline?
  private let cancelled = Atomic<Bool>(false)
  private let bytes = Atomic<Int>(0)
  private let bytesMax: Int

  package init(deadline: Deadline? = nil, bytesMax: Int? = nil) {
    self.deadline = deadline
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

  func release(_ count: Int) { _ = bytes.wrappingSubtract(count, ordering: .relaxed) }
}
