import Messages

extension ProtoExplainResponse {
  init(
    _ profile: QueryProfile, _ info: ProtoAnswerInfo, answerCached: Bool, total: Duration
  ) {
    self.init()
    let reading = profile.reading
    plan = profile.operations.map(Self.line).joined()
    operators = profile.operations.map { operation in
      var proto = ProtoExplainOperator()
      proto.name = operation.name
      proto.detail = operation.detail
      proto.rows = UInt64(operation.rows)
      proto.bytes = UInt64(operation.bytes)
      proto.milliseconds = operation.duration.milliseconds
      return proto
    }
    days = UInt32(reading.days.count)
    daysCached = UInt32(reading.cachedDays.count)
    columns = reading.columns.sorted()
    bytesRead = UInt64(reading.bytes)
    rowsRead = UInt64(reading.rows)
    self.answerCached = answerCached
    totalMilliseconds = total.milliseconds
    self.info = info
  }

  /// `  scan (3 steps over 7 days): 12.3 ms, 100000 rows`
  private static func line(_ operation: QueryProfile.Operation) -> String {
    var text = String(repeating: "  ", count: operation.depth) + operation.name
    if !operation.detail.isEmpty { text += " (\(operation.detail))" }
    text += ": \(operation.duration.milliseconds) ms"
    if operation.rows > 0 { text += ", \(operation.rows) rows" }
    if operation.bytes > 0 { text += ", \(operation.bytes) bytes read" }
    return text + "\n"
  }
}

extension Duration {
  /// To the microsecond.
  fileprivate var milliseconds: Double {
    let (seconds, attoseconds) = components
    return Double(seconds) * 1_000 + (Double(attoseconds) / 1e12).rounded() / 1_000
  }
}
