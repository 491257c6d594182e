import Events
package import Messages
package import RPC
import Store

/// The ledger's calls.
package final class CompletenessService: CompletenessHandlers {
  private let core: IngestCore
  /// ms since 1970.
  private let now: @Sendable () -> Int64

  package init(core: IngestCore, now: @escaping @Sendable () -> Int64) {
    self.core = core
    self.now = now
  }

  package func getCompleteness(
    _ request: ProtoGetCompletenessRequest, context: CallContext
  ) async throws -> ProtoGetCompletenessResponse {
    let app = try core.entry(try context.appID(requested: request.appID))
    let query = try CompletenessQuery(request)
    // Before the tables are read: they hold at least this much.
    let head = core.head
    let rows = try await core.store.readDetached { try query.rows(app: app.number, $0) }
    var response = ProtoGetCompletenessResponse()
    response.rows = rows
    response.total = CompletenessQuery.total(rows)
    response.timeZone = app.calendar.identifier
    response.asOfOffset = head
    response.complete = app.calendar.day(at: now()) > query.days.upperBound
    return response
  }
}
