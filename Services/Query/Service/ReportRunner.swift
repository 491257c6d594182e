import Events
import Messages
import RPC
import Store
import SwiftProtobuf

/// A request that asks for a report: what each of the report's files adds to its message.
protocol ReportRequest: Message {
  associatedtype Answer: Message
  /// Empty: the token's own app.
  var appID: String { get }

  /// Validates, plans, runs and encodes. Called on a thread of queries.
  ///
  /// - Parameter appID: the app that the token may speak for.
  func answer(_ engine: QueryEngine, appID: String, control: QueryControl) throws -> Answer
}

/// A report whose numbers of users can be opened.
protocol UserListing: ReportRequest {
  /// The users behind one number of the answer: exactly as many as it says.
  ///
  /// - Returns: codes of the app's dictionary of users, ascending, and what the answer includes.
  /// - Throws: INVALID_ARGUMENT, naming the field of the cell, where the report has no such number.
  func users(
    _ cell: ProtoUserCell, _ engine: QueryEngine, appID: String, control: QueryControl
  ) throws -> UserList
}

package struct UserList: Sendable {
  let users: [UInt32]
  let app: AppState
  package let info: AnswerInfo

  /// In the order in which the app first saw them.
  package var openIDs: [String] { app.texts(.users, users) }
}

/// An answer as rows for a spreadsheet.
protocol CSVReport {
  /// Names of the columns: of the fields of the answer, in `snake_case`.
  var csvColumns: [String] { get }
  /// As many cells as columns each; nil: an empty cell.
  var csvRows: [[CSVCell?]] { get }
}

enum CSVCell: Sendable, Equatable {
  case text(String)
  case integer(Int64)
  case number(Double)
  case boolean(Bool)
}

/// Runs reports on the threads of queries.
package final class ReportRunner: Sendable {
  let engine: QueryEngine
  private let pool: QueryPool
  private let bytesMax: Int

  package init(engine: QueryEngine, configuration: QueryConfiguration) {
    self.engine = engine
    bytesMax = configuration.queryBytesMax
    pool = QueryPool(
      threads: configuration.threads, waitingMax: configuration.waitingQueriesMax)
  }

  func answer<Request: ReportRequest>(
    _ request: Request, _ context: CallContext
  ) async throws -> Request.Answer {
    try await Self.mappingErrors {
      let appID = try context.appID(requested: request.appID)
      let control = QueryControl(deadline: context.deadline, bytesMax: bytesMax)
      // The message is built on the query's thread: a large one must not hold up the connection's event loop.
      return try await pool.run(control) { [engine] in
        try request.answer(engine, appID: appID, control: control)
      }
    }
  }
}
