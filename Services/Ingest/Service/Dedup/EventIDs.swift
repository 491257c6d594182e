import Store

/// The ids of events that came without a number, in the table `event_id`: 32 bytes of hashes per event.
enum EventIDs {
  enum Verdict { case new, duplicate, conflict }

  /// What an event is, without taking it in.
  static func check(
    _ id: Hash128, content: UInt64, app: Int64, _ connection: StoreConnection
  ) throws -> Verdict {
    let statement = try connection.statement(
      "SELECT content FROM event_id WHERE app = ? AND high = ? AND low = ?")
    defer { statement.reset() }
    try bind(statement, id, app)
    guard try statement.step() else { return .new }
    return statement.int64(0) == Int64(bitPattern: content) ? .duplicate : .conflict
  }

  /// Takes the id in where it is new.
  static func insert(
    _ id: Hash128, content: UInt64, app: Int64, _ connection: StoreConnection
  ) throws -> Verdict {
    let statement = try connection.statement(
      "INSERT INTO event_id(app, high, low, content) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING")
    try bind(statement, id, app)
    try statement.bind(4, Int64(bitPattern: content))
    try statement.run()
    if connection.changes == 1 { return .new }
    return try check(id, content: content, app: app, connection)
  }

  private static func bind(_ statement: StoreStatement, _ id: Hash128, _ app: Int64) throws {
    try statement.bind(1, app)
    try statement.bind(2, Int64(bitPattern: id.high))
    try statement.bind(3, Int64(bitPattern: id.low))
  }
}
