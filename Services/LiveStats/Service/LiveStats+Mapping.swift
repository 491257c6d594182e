import Events
import Messages
import Subscription

/// GetSeries as a value.
struct SeriesQuestion: Sendable {
  let path: String
  let range: SeriesRange
  let comparison: SeriesRange?

  init(
    _ request: ProtoGetSeriesRequest, now: Int64, _ calendar: AppCalendar
  ) throws(LiveQuestionError) {
    let offset = { (time: Int64) in calendar.offset(at: time) / 60_000 }
    path = try checkedPath(request.pagePath)
    range = try SeriesRange.resolve(
      beginMilliseconds: request.beginMs, endMilliseconds: request.endMs,
      bucketMinutes: request.bucketMinutes, nowMilliseconds: now, offsetMinutes: offset)
    comparison =
      request.compareBeginMs == 0
      ? nil
      : try range.comparison(beginMilliseconds: request.compareBeginMs, offsetMinutes: offset)
  }
}

/// ListPages as a value.
struct PagesQuestion: Sendable {
  let minutes: Range<Int64>
  let limit: Int

  init(_ request: ProtoListPagesRequest, now: Int64) throws(LiveQuestionError) {
    guard request.limit <= LiveLimits.pagesListedMax else { throw .tooManyPages(request.limit) }
    limit = Int(request.limit == 0 ? LiveLimits.pagesListedDefault : request.limit)
    let end = request.endMs == 0 ? now : request.endMs
    let begin = request.beginMs == 0 ? max(end &- 86_400_000, 1) : request.beginMs
    minutes = try SeriesRange.resolve(
      beginMilliseconds: begin, endMilliseconds: end, bucketMinutes: 1, nowMilliseconds: now,
      offsetMinutes: { _ in 0 }
    ).minutes
  }
}

func checkedPath(_ path: String) throws(LiveQuestionError) -> String {
  guard path.utf8.count <= EventLimits.pagePathBytesMax else {
    throw .pathTooLong(path.utf8.count)
  }
  return path
}

/// ms.
func checkedInterval(_ interval: Int32) throws(LiveQuestionError) -> Int {
  if interval == 0 { return LiveLimits.watchIntervalMillisecondsMin }
  guard
    (LiveLimits.watchIntervalMillisecondsMin...LiveLimits.watchIntervalMillisecondsMax)
      .contains(Int(interval))
  else { throw .badInterval(interval) }
  return Int(interval)
}

extension LiveStatsService {
  /// - Parameter endMinute: behind the last minute that was asked for.
  static func info(
    _ basis: LiveBasis, _ position: LogPosition, _ calendar: AppCalendar, endMinute: Int64
  ) -> ProtoAnswerInfo {
    var info = ProtoAnswerInfo()
    info.asOfOffset = position.nextOffset
    info.asOfEventTimeMs = basis.latestEventMilliseconds
    info.timeZone = calendar.identifier
    info.definitionVersion = LiveLimits.definitionVersion
    info.eventsRead = basis.eventsRead
    info.excluded = [
      (ExclusionReason.scene.name, basis.excludedScene),
      (ExclusionReason.releaseChannel.name, basis.excludedChannel),
      ("retention", basis.dropped),
    ].filter { $0.1 > 0 }.map { reason, events in
      var excluded = ProtoExcludedEvents()
      excluded.reason = reason
      excluded.events = events
      return excluded
    }
    info.complete = endMinute * 60_000 <= position.lastReceivedMilliseconds
    return info
  }
}

extension ProtoLivePoint {
  init(_ point: LivePoint) {
    self.init()
    beginMs = point.beginMinute * 60_000
    visitPv = point.visits
    sessionCnt = point.opens
    visitUv = point.users
    eventCnt = point.events
  }
}

extension ProtoGetSeriesResponse {
  init(_ points: [LivePoint], _ compared: [LivePoint], info: ProtoAnswerInfo) {
    self.init()
    self.points = points.map(ProtoLivePoint.init)
    self.comparePoints = compared.map(ProtoLivePoint.init)
    self.info = info
  }
}

extension ProtoListPagesResponse {
  /// - Parameter visits: of all pages, those without a row included.
  init(_ pages: [LivePage], pageCount: Int, visits: UInt64, info: ProtoAnswerInfo) {
    self.init()
    self.pages = pages.map { page in
      var item = ProtoLivePage()
      item.pagePath = page.path
      item.visitPv = page.visits
      item.visitShare = visits == 0 ? 0 : Double(page.visits) / Double(visits)
      item.visitUv = page.users
      return item
    }
    self.pageCnt = UInt64(pageCount)
    self.info = info
  }
}

extension ProtoWatchResponse {
  init(_ update: WatchTopic.Update, info: ProtoAnswerInfo) {
    self.init()
    points = update.points.map(ProtoLivePoint.init)
    activeUsers5Min = update.users5Minutes
    activeUsers30Min = update.users30Minutes
    self.info = info
  }
}
