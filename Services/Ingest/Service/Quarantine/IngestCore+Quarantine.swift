package import Messages
package import RPC
import Store

extension IngestCore {
  package func listQuarantined(
    _ request: ProtoListQuarantinedRequest, principal: Principal
  ) async throws -> ProtoListQuarantinedResponse {
    let app = try apps.entry(request.appID, for: principal)
    guard request.pageSize <= UInt32(Limits.quarantinePageMax) else {
      throw IngestErrors.invalid(
        "page_size", "at most \(Limits.quarantinePageMax); got \(request.pageSize)")
    }
    let max = request.pageSize == 0 ? Limits.quarantinePageDefault : Int(request.pageSize)
    let query = try QuarantineQuery(request.filter, app: app)
    let begin = try query.id(of: request.cursor, hash) ?? .max
    let (events, next) = try await store.readDetached {
      try QuarantineReader.list(query, beyond: begin, max: max, $0)
    }
    var response = ProtoListQuarantinedResponse()
    response.events = events
    if let next { response.nextCursor = query.cursor(beyond: next, hash) }
    return response
  }

  package func countQuarantined(
    _ request: ProtoCountQuarantinedRequest, principal: Principal
  ) async throws -> ProtoCountQuarantinedResponse {
    let app = try apps.entry(request.appID, for: principal)
    return try await store.readDetached { [quarantineBounds] in
      try QuarantineReader.count(app: app.number, quarantineBounds, $0)
    }
  }

  package func getQuarantined(
    _ request: ProtoGetQuarantinedRequest, principal: Principal
  ) async throws -> ProtoQuarantinedEvent {
    let app = try apps.entry(request.appID, for: principal)
    let event = try await store.readDetached {
      try QuarantineReader.get(request.id, app: app.number, $0)
    }
    guard let event else { throw IngestErrors.unknownQuarantined(request.id) }
    return event
  }

  package func replayQuarantined(
    _ request: ProtoReplayQuarantinedRequest, principal: Principal
  ) async throws -> ProtoReplayQuarantinedResponse {
    try await desk.replay(request, app: apps.entry(request.appID, for: principal))
  }

  package func discardQuarantined(
    _ request: ProtoDiscardQuarantinedRequest, principal: Principal
  ) async throws -> ProtoDiscardQuarantinedResponse {
    try await desk.discard(request, app: apps.entry(request.appID, for: principal))
  }

  private var desk: QuarantineDesk {
    QuarantineDesk(writer: writer, store: store, collector: collector, hash: hash)
  }
}

extension AppRegistry {
  /// The app that a call is about: the token's own, else the one that is named.
  ///
  /// - Throws: PERMISSION_DENIED, INVALID_ARGUMENT, NOT_FOUND.
  func entry(_ appID: String, for principal: Principal) throws(RPCError) -> AppEntry {
    if let own = principal.appID, !appID.isEmpty, appID != own {
      throw IngestErrors.otherApp(appID)
    }
    let appID = principal.appID ?? appID
    guard !appID.isEmpty else { throw IngestErrors.appRequired }
    guard let app = self[appID] else { throw IngestErrors.unknownApp(appID) }
    return app
  }
}
