package import Messages
import RPC

/// One event with its history, and lists of events.
extension EventManagement {
  package func event(_ request: ProtoGetEventRequest, _ appID: String) async throws
    -> ProtoGetEventResponse
  {
    let size = request.historySize == 0 ? Limits.Plan.historyPageDefault : Int(request.historySize)
    guard size <= Limits.Plan.historyPageMax else {
      throw IngestErrors.invalid(
        "history_size", "at most \(Limits.Plan.historyPageMax); got \(size)")
    }
    return try await read(appID) { rows in
      guard let event = try rows.event(request.name) else {
        throw PlanErrors.unknownEvent(request.name)
      }
      var answer = ProtoGetEventResponse()
      answer.event = event
      answer.history = try rows.changes(
        of: request.name, before: request.beforeRevision, limit: size)
      return answer
    }
  }

  package func list(_ request: ProtoListEventsRequest, _ appID: String) async throws
    -> ProtoListEventsResponse
  {
    let size = request.pageSize == 0 ? Limits.Plan.listPageDefault : Int(request.pageSize)
    guard size <= Limits.Plan.listPageMax else {
      throw IngestErrors.invalid("page_size", "at most \(Limits.Plan.listPageMax); got \(size)")
    }
    guard request.pageToken.isEmpty || DefinitionCheck.isCustomName(request.pageToken) else {
      throw IngestErrors.invalid("page_token", "the next_page_token of an answer")
    }
    guard request.text.utf8.count <= Limits.Plan.searchBytesMax else {
      throw IngestErrors.invalid(
        "text", "at most \(Limits.Plan.searchBytesMax) bytes; got \(request.text.utf8.count) bytes")
    }
    return try await read(appID) { rows in
      let matching = try rows.events().filter { Self.matches($0, request) }
      let rest = matching.drop { $0.definition.name <= request.pageToken }
      var answer = ProtoListEventsResponse()
      answer.events = Array(rest.prefix(size))
      answer.total = UInt32(matching.count)
      if rest.count > size { answer.nextPageToken = answer.events.last?.definition.name ?? "" }
      return answer
    }
  }

  private static func matches(_ event: ProtoPlannedEvent, _ request: ProtoListEventsRequest) -> Bool
  {
    let definition = event.definition
    guard request.states.isEmpty ? event.state != .archived : request.states.contains(event.state),
      request.method == .unspecified || request.method == definition.method
    else { return false }
    return request.text.isEmpty
      || [definition.name, definition.chineseName, definition.description_p].contains {
        $0.contains(request.text)
      }
  }
}
