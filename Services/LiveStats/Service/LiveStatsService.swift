package import Events
package import Messages
package import RPC
package import Store
import Subscription

/// Answers what happens now, by the minute.
package final class LiveStatsService: LiveStatsHandlers {
  private let store: Store
  private let view: LiveView
  private let hub: WatchHub
  private let calendar: @Sendable (String) -> AppCalendar?
  private let status: @Sendable () -> ProtoConsumerStatus

  /// - Parameters:
  ///   - calendar: of an app, nil for an unknown one.
  ///   - status: how far the log has been applied.
  package init(
    store: Store, view: LiveView, hub: WatchHub,
    calendar: @escaping @Sendable (String) -> AppCalendar?,
    status: @escaping @Sendable () -> ProtoConsumerStatus
  ) {
    self.store = store
    self.view = view
    self.hub = hub
    self.calendar = calendar
    self.status = status
  }

  package func getSeries(
    _ request: ProtoGetSeriesRequest, context: CallContext
  ) async throws -> ProtoGetSeriesResponse {
    let (appID, calendar) = try known(request.appID, context)
    return try await Self.mappingErrors {
      let question = try SeriesQuestion(request, now: view.nowMilliseconds, calendar)
      return try await store.readDetached { [view] connection in
        var reader = try view.reader(connection, appID: appID)
        let page = try reader.page(question.path)
        let points = try reader.series(page: page, question.range)
        let compared = try question.comparison.map { try reader.series(page: page, $0) }
        return try ProtoGetSeriesResponse(
          points, compared ?? [],
          info: Self.info(
            reader.basis, view.position(connection), calendar,
            endMinute: max(question.range.endMinute, question.comparison?.endMinute ?? 0)))
      }
    }
  }

  package func listPages(
    _ request: ProtoListPagesRequest, context: CallContext
  ) async throws -> ProtoListPagesResponse {
    let (appID, calendar) = try known(request.appID, context)
    return try await Self.mappingErrors {
      let question = try PagesQuestion(request, now: view.nowMilliseconds)
      return try await store.readDetached { [view] connection in
        var reader = try view.reader(connection, appID: appID)
        let found = try reader.pages(question.minutes, limit: question.limit)
        return try ProtoListPagesResponse(
          found.pages, pageCount: found.pageCount, visits: found.visits,
          info: Self.info(
            reader.basis, view.position(connection), calendar,
            endMinute: question.minutes.upperBound))
      }
    }
  }

  package func watch(
    _ request: ProtoWatchRequest, responses: ResponseWriter<ProtoWatchResponse>,
    context: CallContext
  ) async throws {
    let (appID, calendar) = try known(request.appID, context)
    let (path, interval, watcher) = try await Self.mappingErrors {
      let path = try checkedPath(request.pagePath)
      let interval = try checkedInterval(request.intervalMs)
      return (path, interval, try hub.add(appID: appID, path: path))
    }
    precondition(watcher.topic.path == path)
    defer { hub.remove(watcher) }
    var seen: UInt64 = 0
    for await _ in watcher.wakes {
      guard let update = hub.update(for: watcher, after: seen), update.version > seen else {
        continue
      }
      let began = MonotonicClock.now
      try await responses.send(
        ProtoWatchResponse(
          update,
          info: Self.info(
            update.basis, update.position, calendar, endMinute: view.nowMinute + 1)))
      seen = update.version
      let rest = Int64(interval) * 1_000_000 - (MonotonicClock.now - began)
      if rest > 0 { try await Task.sleep(nanoseconds: UInt64(rest)) }
    }
    // Cancelled by the caller, or the service is going down.
    throw RPCError(
      Task.isCancelled ? .cancelled : .unavailable,
      Task.isCancelled ? "the call was cancelled" : "the service is shutting down")
  }

  package func getStatus(
    _ request: ProtoGetLiveStatusRequest, context: CallContext
  ) async throws -> ProtoConsumerStatus {
    status()
  }

  private func known(_ requested: String, _ context: CallContext) throws -> (String, AppCalendar) {
    let appID = try context.appID(requested: requested)
    guard let calendar = calendar(appID) else {
      throw LiveQuestionError.unknownApp(appID).status
    }
    return (appID, calendar)
  }
}
