import Events
import Messages
import RPC
import Store
import SwiftProtobuf
import Synchronization

/// A request that asks for a report: what each of the report's files adds to its message.
protocol ReportRequest: Message {
  associatedtype Answer: Message
  /// Empty: the token's own app.
  var appID: String { get }
  /// Fields whose values the answer names.
  var breakdownFields: [String] { get }

  /// Validates, plans, runs and encodes. Called on a thread of queries.
  ///
  /// - Parameter appID: the app that the token may speak for.
  func answer(_ engine: QueryEngine, appID: String, control: QueryControl) throws -> Answer
}

extension ReportRequest {
  var breakdownFields: [String] { [] }
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

/// Runs reports on the threads of queries, and remembers answers for as long as the log does not go on.
package final class ReportRunner: Sendable {
  let engine: QueryEngine
  let answers: AnswerCache
  private let pool: QueryPool
  private let bytesMax: Int

  package init(engine: QueryEngine, configuration: QueryConfiguration) {
    self.engine = engine
    answers = AnswerCache(bytesMax: configuration.answerBytesMax)
    bytesMax = configuration.queryBytesMax
    pool = QueryPool(
      threads: configuration.threads, waitingMax: configuration.waitingQueriesMax)
  }

  func answer<Request: ReportRequest>(
    _ request: Request, _ context: CallContext
  ) async throws -> Request.Answer {
    try request.checkUse(of: context.principal)
    return try await run(context, requestedApp: request.appID) { [self] appID, control in
      try answer(request, context, appID: appID, control: control)
    }
  }

  /// The bytes that are remembered are those that the call is answered with.
  private func answer<Request: ReportRequest>(
    _ request: Request, _ context: CallContext, appID: String, control: QueryControl
  ) throws -> Request.Answer {
    guard !answers.isOff else { return try request.answer(engine, appID: appID, control: control) }
    let key = try key(request, appID)
    if let known = answers.answer(key) {
      context.answer(encoded: known)
      return try Request.Answer(serializedBytes: known)
    }
    let answer = try request.answer(engine, appID: appID, control: control)
    // Made of what the key says, and of nothing that came meanwhile.
    if engine.watermark == key.watermark {
      let bytes: [UInt8] = try answer.serializedBytes()
      context.answer(encoded: bytes)
      answers.insert(bytes, key)
    }
    return answer
  }

  private func key(_ request: some ReportRequest, _ appID: String) throws -> AnswerCache.Key {
    AnswerCache.Key(
      name: type(of: request).protoMessageName, request: try request.serializedBytes(),
      appID: appID, watermark: engine.watermark)
  }

  /// Whether the report would be answered again as it was.
  func remembers(_ request: some ReportRequest, appID: String) throws -> Bool {
    answers.holds(try key(request, appID))
  }

  /// Runs something on a thread of queries, for the app that the caller's token may speak for. Messages are built there too: a
  /// large one must not hold up the connection's event loop.
  func run<Answer: Sendable>(
    _ context: CallContext, requestedApp: String, profile: QueryProfile? = nil,
    _ query: @escaping @Sendable (_ appID: String, QueryControl) throws -> Answer
  ) async throws -> Answer {
    try await Self.mappingErrors {
      let appID = try context.appID(requested: requestedApp)
      let control = QueryControl(
        deadline: context.deadline, bytesMax: bytesMax, profile: profile)
      return try await pool.run(control, app: appID) { try query(appID, control) }
    }
  }
}

extension ReportRunner {
  /// Answers that were given again.
  package var answersRemembered: Int { answers.hits }
  package var answerBytes: Int { answers.byteCount }

  /// Gives back the memory that only makes the next question faster.
  func giveBack() {
    engine.giveMemoryBack()
    answers.removeAll()
  }
}

extension QueryEngine {
  var watermark: AnswerCache.Watermark {
    let position = currentPosition
    return AnswerCache.Watermark(
      nextOffset: position.nextOffset, receivedMilliseconds: position.receivedMilliseconds,
      historyVersion: historyVersion.load(ordering: .acquiring))
  }
}
