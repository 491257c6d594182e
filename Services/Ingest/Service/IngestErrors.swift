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

  /// With how long to wait (gRFC A6).
  static func queueFull() -> RPCError {
    var metadata = Metadata()
    metadata.add("grpc-retry-pushback-ms", "\(Limits.pushbackMilliseconds)")
    return RPCError(
      .resourceExhausted,
      "the writer's queue is full (\(Limits.queuedBatchesMax) batches or \(Limits.queuedBytesMax) bytes)",
      metadata: metadata)
  }

  static let shuttingDown = RPCError(.unavailable, "ingest is shutting down")

  static func failed(_ cause: any Error) -> RPCError {
    RPCError(
      .unavailable, "the log cannot be written; nothing of this batch is known to be stored",
      cause: cause)
  }

  static func beyond(_ offset: UInt64, head: UInt64) -> RPCError {
    RPCError(.outOfRange, "from_offset: at most \(head), the log's end; got \(offset)")
  }

  static func damaged(_ offset: UInt64) -> RPCError {
    RPCError(.dataLoss, "the record at offset \(offset) does not match its checksum")
  }
}
