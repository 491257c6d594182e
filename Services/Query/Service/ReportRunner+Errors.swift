import Events
import RPC
import Store

extension ReportRunner {
  /// One table from what can go wrong to what the caller is told.
  static func mappingErrors<Answer>(_ body: () async throws -> Answer) async throws -> Answer {
    do {
      return try await body()
    } catch let error as RPCError {
      throw error
    } catch let error as QueryError {
      throw RPCError(code(error.kind), error.description)
    } catch let error as RuleViolation {
      throw RPCError(.invalidArgument, error.message)
    } catch let error as StoreError {
      throw RPCError(.unavailable, "the store of reports cannot be read", cause: error)
    } catch let error as FormatError {
      throw RPCError(.dataLoss, "the store of reports is damaged: restore a backup, or remove it and it is built again from the log", cause: error)
    } catch is CancellationError {
      throw RPCError(.cancelled, "the caller gave the query up")
    }
  }

  private static func code(_ kind: QueryError.Kind) -> StatusCode {
    switch kind {
    case .invalidArgument: .invalidArgument
    case .notFound: .notFound
    case .resourceExhausted: .resourceExhausted
    case .deadlineExceeded: .deadlineExceeded
    case .cancelled: .cancelled
    }
  }
}
