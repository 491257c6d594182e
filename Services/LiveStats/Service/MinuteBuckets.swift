import Store

/// One minute of an app and page, counted from 1970. Page 0: all pages.
package struct MinuteKey: Hashable, Sendable {
  package let app: Int64
  package let page: UInt32
  package let minute: Int64

  package init(app: Int64, page: UInt32, minute: Int64) {
    self.app = app
    self.page = page
    self.minute = minute
  }
}

/// What is counted of a minute.
package struct MinuteCounts: Sendable, Equatable {
  package var visits: Int64 = 0
  package var opens: Int64 = 0
  package var events: Int64 = 0
  package var users: Int64 = 0
  /// Events left out because of their scene.
  package var excludedScene: Int64 = 0
  /// Events left out because of their release channel.
  package var excludedChannel: Int64 = 0

  package init() {}
}

/// The buckets that are being written: a write-back cache over `live_minute`. Confined to the store's writer.
///
/// Bounds: `LiveLimits.cachedUsersMax` and `cachedBucketsMax`, checked after each flush; the buckets used last stay.
final class MinuteBuckets {
  private final class Bucket {
    var counts = MinuteCounts()
    /// All users of the bucket.
    var users: Set<UInt32> = []
    /// Those of them in no part yet.
    var tail: [UInt32] = []
    var parts = 0
    var isChanged = false
    var usedAt: UInt64 = 0

    /// Nobody and nothing is left of it: only an erasure leads here.
    var isEmpty: Bool {
      users.isEmpty && counts == MinuteCounts()
    }
  }

  private var buckets: [MinuteKey: Bucket] = [:]
  private var changed: [MinuteKey] = []
  private var cachedUsers = 0
  private var clock: UInt64 = 0
  /// The bucket of the last call: most events follow one of the same minute.
  private var last: (key: MinuteKey, bucket: Bucket)?

  /// Buckets changed since the last flush.
  var changedKeys: [MinuteKey] { changed }

  func update(
    _ key: MinuteKey, _ connection: StoreConnection, _ change: (inout MinuteCounts) -> Void
  ) throws {
    change(&(try changing(key, connection)).counts)
  }

  func insert(user: UInt32, into key: MinuteKey, _ connection: StoreConnection) throws {
    let bucket = try changing(key, connection)
    guard bucket.users.insert(user).inserted else { return }
    bucket.tail.append(user)
    bucket.counts.users += 1
    cachedUsers += 1
  }

  /// Takes a user out; what was counted of them stays to be taken back.
  func remove(user: UInt32, from key: MinuteKey, _ connection: StoreConnection) throws {
    let bucket = try changing(key, connection)
    guard bucket.users.remove(user) != nil else { return }
    bucket.counts.users -= 1
    cachedUsers -= 1
    if let place = bucket.tail.firstIndex(of: user) {
      bucket.tail.remove(at: place)
    } else {
      try removeFromParts(user, key, connection)
    }
  }

  private func removeFromParts(
    _ user: UInt32, _ key: MinuteKey, _ connection: StoreConnection
  ) throws {
    let place: [StoreValue] = [.integer(key.app), .integer(Int64(key.page)), .integer(key.minute)]
    let parts = try connection.query(
      "SELECT part, ids FROM live_part WHERE app = ? AND page = ? AND minute = ?", place
    ) { row in
      var ids: [UInt32] = []
      try UserIDs.forEach(in: row.blob(1)) { ids.append($0) }
      return (number: row.int64(0), ids: ids)
    }
    for part in parts where part.ids.contains(user) {
      try connection.execute(
        "UPDATE live_part SET ids = ? WHERE app = ? AND page = ? AND minute = ? AND part = ?",
        [.blob(UserIDs.encode(part.ids.filter { $0 != user }))] + place + [.integer(part.number)])
    }
  }

  private func changing(_ key: MinuteKey, _ connection: StoreConnection) throws -> Bucket {
    let bucket = try find(key, connection)
    if !bucket.isChanged {
      bucket.isChanged = true
      changed.append(key)
    }
    return bucket
  }

  private func find(_ key: MinuteKey, _ connection: StoreConnection) throws -> Bucket {
    if let last, last.key == key { return last.bucket }
    let bucket = try buckets[key] ?? load(key, connection)
    clock += 1
    bucket.usedAt = clock
    last = (key, bucket)
    return bucket
  }

  private func load(_ key: MinuteKey, _ connection: StoreConnection) throws -> Bucket {
    let bucket = Bucket()
    let place: [StoreValue] = [.integer(key.app), .integer(Int64(key.page)), .integer(key.minute)]
    _ = try connection.first(
      """
      SELECT visits, opens, events, users, scene, channel, parts, ids FROM live_minute
      WHERE app = ? AND page = ? AND minute = ?
      """, place
    ) { row in
      bucket.counts = MinuteCounts(row)
      bucket.parts = row.int(6)
      try UserIDs.forEach(in: row.blob(7)) { bucket.tail.append($0) }
    }
    bucket.users.formUnion(bucket.tail)
    if bucket.parts > 0 {
      _ = try connection.query(
        "SELECT ids FROM live_part WHERE app = ? AND page = ? AND minute = ?", place
      ) { row in
        try UserIDs.forEach(in: row.blob(0)) { bucket.users.insert($0) }
      }
    }
    guard bucket.users.count == Int(bucket.counts.users) else { throw CorruptUserIDs() }
    buckets[key] = bucket
    cachedUsers += bucket.users.count
    return bucket
  }

  // MARK: Writing

  /// Writes every changed bucket.
  func flush(_ connection: StoreConnection) throws {
    for key in changed {
      guard let bucket = buckets[key] else { continue }
      if bucket.isEmpty {
        try delete(key, connection)
        continue
      }
      if bucket.tail.count >= LiveLimits.tailUsersMax { try putAside(key, bucket, connection) }
      try write(key, bucket, connection)
      bucket.isChanged = false
    }
    changed.removeAll(keepingCapacity: true)
    if cachedUsers > LiveLimits.cachedUsersMax || buckets.count > LiveLimits.cachedBucketsMax {
      evict()
    }
  }

  private func putAside(
    _ key: MinuteKey, _ bucket: Bucket, _ connection: StoreConnection
  ) throws {
    let statement = try connection.statement(
      "INSERT INTO live_part (app, page, minute, part, ids) VALUES (?, ?, ?, ?, ?)")
    try bind(key, statement)
    try statement.bind(4, bucket.parts)
    try statement.bind(5, blob: UserIDs.encode(bucket.tail))
    try statement.run()
    bucket.parts += 1
    bucket.tail.removeAll(keepingCapacity: true)
  }

  private func write(_ key: MinuteKey, _ bucket: Bucket, _ connection: StoreConnection) throws {
    let statement = try connection.statement(
      """
      INSERT OR REPLACE INTO live_minute
        (app, page, minute, visits, opens, events, users, scene, channel, parts, ids)
      VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
      """)
    try bind(key, statement)
    let counts = bucket.counts
    let numbers = [
      counts.visits, counts.opens, counts.events, counts.users, counts.excludedScene,
      counts.excludedChannel, Int64(bucket.parts),
    ]
    for (index, number) in numbers.enumerated() { try statement.bind(4 + index, number) }
    try statement.bind(11, blob: UserIDs.encode(bucket.tail))
    try statement.run()
  }

  private func delete(_ key: MinuteKey, _ connection: StoreConnection) throws {
    for table in ["live_part", "live_minute"] {
      try connection.execute(
        "DELETE FROM \(table) WHERE app = ? AND page = ? AND minute = ?",
        [.integer(key.app), .integer(Int64(key.page)), .integer(key.minute)])
    }
    buckets[key] = nil
    last = nil
  }

  private func bind(_ key: MinuteKey, _ statement: StoreStatement) throws {
    try statement.bind(1, key.app)
    try statement.bind(2, Int64(key.page))
    try statement.bind(3, key.minute)
  }

  /// Lets the half go that was used longest ago. Nothing is lost: all is written.
  private func evict() {
    last = nil
    let byAge = buckets.sorted { $0.value.usedAt > $1.value.usedAt }
    buckets.removeAll(keepingCapacity: true)
    cachedUsers = 0
    for (key, bucket) in byAge.prefix(byAge.count / 2)
    where cachedUsers + bucket.users.count <= LiveLimits.cachedUsersMax / 2 {
      buckets[key] = bucket
      cachedUsers += bucket.users.count
    }
  }

  /// Forgets all, written or not.
  func discard() {
    last = nil
    buckets.removeAll()
    changed.removeAll()
    cachedUsers = 0
  }
}

extension MinuteCounts {
  /// From columns 0-5: visits, opens, events, users, scene, channel.
  init(_ row: StoreStatement) {
    visits = row.int64(0)
    opens = row.int64(1)
    events = row.int64(2)
    users = row.int64(3)
    excludedScene = row.int64(4)
    excludedChannel = row.int64(5)
  }

  static func += (a: inout MinuteCounts, b: MinuteCounts) {
    a.visits += b.visits
    a.opens += b.opens
    a.events += b.events
    a.users += b.users
    a.excludedScene += b.excludedScene
    a.excludedChannel += b.excludedChannel
  }
}
