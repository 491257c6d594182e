import Events
import RPC
import Store

/// What a caller is told: the one place where an error of the domain becomes a status.
enum IngestErrors {
  static func malformed(_ error: WireError) -> RPCError {
    RPCError(.invalidArgument, "not a CollectRequest: \(error)")
  }

  static func refused(_ violation: RuleViolation) -> RPCError {
    RPCError(.invalidArgument, violation.message)
  }

  static let importScope = RPCError(
    .permissionDenied, "import: needs a token with the scope ingest:import")

  static let appRequired = RPCError(
    .invalidArgument, "app_id: required, because the token speaks for any app")

  static func otherApp(_ appID: String) -> RPCError {
    RPCError(.permissionDenied, "app_id: the token does not speak for \"\(appID)\"")
  }

  static func unknownApp(_ appID: String) -> RPCError {
    RPCError(.notFound, "app_id: there is no app \"\(appID)\"")
  }

  static func unknownQuarantined(_ id: UInt64) -> RPCError {
    RPCError(.notFound, "id: the app has no event \(id) in quarantine")
  }

  static func unknownToken(_ tokenID: String) -> RPCError {
    RPCError(.notFound, "token_id: there is no token \"\(tokenID)\"")
  }

  static func appExists(_ appID: String) -> RPCError {
    RPCError(.alreadyExists, "app_id: \"\(appID)\" exists with other settings")
  }

  static func invalid(_ field: String, _ rule: String) -> RPCError {
    RPCError(.invalidArgument, "\(field): \(rule)")
  }

  static func full(_ what: String, max: Int) -> RPCError {
    RPCError(.resourceExhausted, "\(what): at most \(max)")
  }

  static func exists(_ field: String, _ value: String, _ how: String) -> RPCError {
    RPCError(.alreadyExists, "\(field): \"\(value)\" \(how)")
  }

  static func missing(_ field: String, _ what: String, _ value: String) -> RPCError {
    RPCError(.notFound, "\(field): there is no \(what) \"\(value)\"")
  }

  /// What a request refers to is not there, or not so.
  static func precondition(_ field: String, _ rule: String) -> RPCError {
    RPCError(.failedPrecondition, "\(field): \(rule)")
  }

  static func otherVersion(expected: UInt64, actual: UInt64) -> RPCError {
    RPCError(.aborted, "expected_version: is \(expected), the app is at \(actual): read it again")
  }

  static func noVersion(_ version: UInt64, newest: UInt64) -> RPCError {
    RPCError(.outOfRange, "version: at most \(newest); got \(version)")
  }

  private static let pushbackName = "grpc-retry-pushback-ms"

  /// Whether the same call may succeed later: it says how long to wait (gRFC A6).
  static func isPassing(_ error: RPCError) -> Bool {
    error.code == .resourceExhausted && !error.metadata.isEmpty
  }

  private static func wait(_ milliseconds: Int, _ message: String) -> RPCError {
    var metadata = Metadata()
    metadata.add(pushbackName, "\(milliseconds)")
    return RPCError(.resourceExhausted, message, metadata: metadata)
  }

  // Made once: under overload this is the error of most calls.
  private static let queueFullErrors = stride(
    from: 0, through: Limits.pushbackMillisecondsMax, by: pushbackStep
  ).map { milliseconds in
    wait(
      max(milliseconds, Limits.pushbackMillisecondsMin),
      """
      the writer's queue is full, or holds this app's share of it: at most \(Limits.queuedBatchesMax) batches, or what is \
      written in \(Limits.queueDelayMilliseconds) ms or \(Limits.queuedGroups) transactions
      """)
  }
  private static let pushbackStep = 10

  static func queueFull(pushback milliseconds: Int) -> RPCError {
    queueFullErrors[min(milliseconds / pushbackStep, queueFullErrors.count - 1)]
  }

  static func overLimit(_ tokenID: String, _ shortage: KeyBuckets.Shortage) -> RPCError {
    wait(
      shortage.milliseconds,
      "limits.\(shortage.field): the token \(tokenID) may bring \(shortage.perSecond); it has brought more")
  }

  static func tooManyIDs(max: Int) -> RPCError {
    RPCError(
      .resourceExhausted,
      "event_id: \(max) ids are remembered (setting event-ids-max), no more are taken until some are out of their window")
  }

  static func revoked(_ tokenID: String) -> RPCError {
    RPCError(.failedPrecondition, "token_id: the token \"\(tokenID)\" is revoked")
  }

  /// With how long to wait (gRFC A6).
  static func diskFull() -> RPCError {
    var metadata = Metadata()
    metadata.add("grpc-retry-pushback-ms", "\(Limits.diskFullPushbackMilliseconds)")
    return RPCError(
      .resourceExhausted, "the disk is full; nothing of this is stored, and reading goes on",
      metadata: metadata)
  }

  static let shuttingDown = RPCError(.unavailable, "ingest is shutting down")

  static func failed(_ cause: any Error) -> RPCError {
    RPCError(
      .unavailable, "the log cannot be written; nothing of this batch is known to be stored",
      cause: cause)
  }

  static func beyond(_ field: String, _ offset: UInt64, head: UInt64) -> RPCError {
    RPCError(.outOfRange, "\(field): at most \(head), the log's end; got \(offset)")
  }

  /// The app that a call is about: the token's own, or the one that it names. Empty: none is named.
  static func appID(_ named: String, of principal: Principal) throws(RPCError) -> String {
    guard let own = principal.appID else { return named }
    guard named.isEmpty || named == own else { throw otherApp(named) }
    return own
  }

  static func checkSubscriber(_ name: String) throws(RPCError) {
    guard (1...Limits.subscriberBytesMax).contains(name.utf8.count) else {
      throw invalid(
        "subscriber", "1-\(Limits.subscriberBytesMax) bytes; got \(name.utf8.count) bytes")
    }
  }

  static func removed(_ offset: UInt64, first: UInt64, head: UInt64) -> RPCError {
    RPCError(
      .outOfRange,
      "from_offset: \(offset) was removed by retention; the log holds \(first) up to \(head)")
  }

  static func damaged(_ found: DamagedRecord) -> RPCError {
    RPCError(.dataLoss, "the record at offset \(found.offset) \(found.reason)")
  }

  static func fenced(_ name: String, epoch: UInt64) -> RPCError {
    RPCError(.aborted, "subscriber: \"\(name)\" was taken by another one, epoch \(epoch)")
  }

  static func unknownSubscriber(_ name: String) -> RPCError {
    RPCError(.notFound, "subscriber: there is none of the name \"\(name)\"")
  }

  static func connected(_ name: String) -> RPCError {
    RPCError(.failedPrecondition, "subscriber: \"\(name)\" is connected")
  }
}
