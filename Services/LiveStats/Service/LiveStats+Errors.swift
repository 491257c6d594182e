import Events
import RPC
import Store

extension LiveQuestionError {
  /// The one table from what cannot be answered to a status.
  var status: RPCError {
    switch self {
    case .unknownApp(let app):
      RPCError(.notFound, "app_id: there is no app \"\(app.prefix(128))\"")
    case .badWidth(let width):
      RPCError(.invalidArgument, "bucket_minutes: must be 1, 5, 10, 30 or 60, is \(width)")
    case .inverted(let begin, let end):
      RPCError(.invalidArgument, "begin_ms: must be before end_ms \(end), is \(begin)")
    case .tooManyBuckets(let count):
      RPCError(
        .invalidArgument,
        "begin_ms: the range has \(count) buckets, at most \(LiveLimits.seriesBucketsMax) are allowed")
    case .badTime(let field, let value):
      RPCError(.invalidArgument, "\(field): must be a time from 1970 to 9999 in ms, is \(value)")
    case .tooManyPages(let limit):
      RPCError(
        .invalidArgument, "limit: must be 1-\(LiveLimits.pagesListedMax), is \(limit)")
    case .badInterval(let interval):
      RPCError(
        .invalidArgument,
        """
        interval_ms: must be \(LiveLimits.watchIntervalMillisecondsMin)-\
        \(LiveLimits.watchIntervalMillisecondsMax), is \(interval)
        """)
    case .pathTooLong(let count):
      RPCError(
        .invalidArgument,
        "page_path: has \(count) bytes, at most \(EventLimits.pagePathBytesMax) are allowed")
    case .tooManyWatchers(let count):
      RPCError(
        .resourceExhausted,
        "\(count) calls of Watch are running, at most \(LiveLimits.watchersMax) are allowed")
    case .tooManyTopics(let count):
      RPCError(
        .resourceExhausted,
        "\(count) pages are being watched, at most \(LiveLimits.topicsMax) are allowed")
    }
  }
}

extension LiveStatsService {
  /// Runs the body; its errors of the domain and of the store come out as statuses.
  static func mappingErrors<T>(
    isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> T
  ) async throws -> T {
    do {
      return try await body()
    } catch let error as LiveQuestionError {
      throw error.status
    } catch let error as StoreError {
      throw RPCError(.unavailable, "the store cannot be read now", cause: error)
    } catch let error as CorruptUserIDs {
      throw RPCError(.dataLoss, "\(error)", cause: error)
    } catch let error as PackedError {
      throw RPCError(.dataLoss, "\(error)", cause: error)
    }
  }
}
