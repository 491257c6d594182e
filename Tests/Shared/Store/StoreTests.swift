import Foundation
import Store
import Synchronization
import Testing

private let migrations = [
  Migration(1, "CREATE TABLE item(id INTEGER PRIMARY KEY, name TEXT, weight REAL, body BLOB)")
]

private func open(
  _ folder: TemporaryFolder, durability: StoreOptions.Durability = .full,
  fileBytesMax: Int = 0, checkpointBytes: Int = 4 << 20, readers: Int = 4,
  migrations: [Migration] = migrations
) throws -> Store {
  try Store(
    path: folder.file("a.sqlite"),
    options: StoreOptions(
      durability: durability, readers: readers, checkpointBytes: checkpointBytes,
      fileBytesMax: fileBytesMax),
    migrations: migrations)
}

private func insert(_ store: Store, _ id: Int, bytes: Int = 10) throws {
  try store.write {
    try $0.execute(
      "INSERT INTO item(id, body) VALUES (?, ?)",
      [.integer(id), .blob([UInt8](repeating: 7, count: bytes))])
  }
}

private func count(_ store: Store) throws -> Int {
  try store.read { try $0.first("SELECT count(*) FROM item") { $0.int(0) } ?? -1 }
}

@Suite struct StoreTests {
  let folder: TemporaryFolder

  init() throws { folder = try TemporaryFolder() }

  @Test func `values of every type come back as they were bound`() throws {
    let store = try open(folder)
    let body: [UInt8] = [0, 255, 3]
    try store.write { connection in
      let insert = try connection.statement("INSERT INTO item VALUES (?, ?, ?, ?)")
      try insert.bind(1, Int64.min)
      try insert.bind(2, "é\0b")
      try insert.bind(3, 0.5)
      try body.withUnsafeBytes { bytes in
        try insert.bind(4, blob: bytes)
        try insert.run()
      }
      #expect(connection.changes == 1)
      #expect(connection.lastInsertRowID == .min)
      try connection.execute("INSERT INTO item VALUES (2, ?, NULL, ?)", ["", .blob([])])
    }
    let rows = try store.read { connection in
      try connection.query("SELECT id, name, weight, body FROM item ORDER BY id") {
        ($0.int64(0), $0.string(1), $0.isNull(2) ? nil : $0.double(2), $0.bytes(3), $0.isNull(3))
      }
    }
    #expect(rows.count == 2)
    #expect(rows[0] == (Int64.min, "é\0b", 0.5, body, false))
    #expect(rows[1] == (2, "", nil, [], false))
  }

  @Test func `nothing of a write that throws is kept`() throws {
    struct Refused: Error {}
    let store = try open(folder)
    #expect(throws: Refused.self) {
      try store.write {
        try $0.execute("INSERT INTO item(id) VALUES (1)")
        throw Refused()
      }
    }
    #expect(try count(store) == 0)
    #expect(store.poison == nil)
    try insert(store, 1)
    #expect(try count(store) == 1)
  }

  @Test func `a broken constraint is told and poisons nothing`() throws {
    let store = try open(folder)
    try insert(store, 1)
    let error = #expect(throws: StoreError.self) { try insert(store, 1) }
    #expect(error?.code == .constraint)
    #expect(store.poison == nil)
  }

  @Test func `commits are there after close and reopen`() throws {
    let store = try open(folder)
    for id in 1...20 { try insert(store, id) }
    store.close()
    let error = #expect(throws: StoreError.self) { try count(store) }
    #expect(error?.code == .closed)
    #expect(try count(open(folder)) == 20)
  }

  @Test func `files copied from under a running store hold every commit`() throws {
    // What kill -9 leaves behind: the files as the kernel has them, without any clean-up of ours.
    let store = try open(folder)
    for id in 1...20 { try insert(store, id) }
    let copy = try TemporaryFolder()
    for name in ["a.sqlite", "a.sqlite-wal"] {
      try FileManager.default.copyItem(atPath: folder.file(name), toPath: copy.file(name))
    }
    #expect(try count(open(copy)) == 20)
  }

  @Test(arguments: [1, 100, 4_000, 9_000])
  func `a torn end of the log costs only the commits in it`(torn: Int) throws {
    let store = try open(folder)
    for id in 1...20 { try insert(store, id, bytes: 3_000) }
    let copy = try TemporaryFolder()
    for name in ["a.sqlite", "a.sqlite-wal"] {
      try FileManager.default.copyItem(atPath: folder.file(name), toPath: copy.file(name))
    }
    let log = try #require(FileHandle(forUpdatingAtPath: copy.file("a.sqlite-wal")))
    try log.truncate(atOffset: log.seekToEnd() - UInt64(torn))
    try log.close()
    let reopened = try open(copy)
    let found = try count(reopened)
    #expect((10..<20).contains(found))
    let last = try reopened.read { try $0.first("SELECT max(id) FROM item") { $0.int(0) } }
    #expect(last == found, "the commits that are left are the first ones")
    #expect(try reopened.read { try $0.first("PRAGMA integrity_check") { $0.string(0) } } == "ok")
  }

  @Test func `a reader sees one state while the writer goes on`() throws {
    let store = try open(folder)
    try insert(store, 1)
    let seen = try store.read { connection in
      let before = try connection.first("SELECT count(*) FROM item") { $0.int(0) }
      try insert(store, 2)
      let after = try connection.first("SELECT count(*) FROM item") { $0.int(0) }
      return [before, after]
    }
    #expect(seen == [1, 1])
    #expect(try count(store) == 2)
  }

  @Test func `a reader cannot write`() throws {
    let store = try open(folder)
    let error = #expect(throws: StoreError.self) {
      try store.read { try $0.execute("INSERT INTO item(id) VALUES (1)") }
    }
    #expect(error?.code == .readOnly)
    #expect(store.poison == nil)
  }

  @Test func `more reads than readers wait for their turn`() async throws {
    let store = try open(folder, readers: 2)
    try insert(store, 1)
    let counts = try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<50 {
        group.addTask {
          try await store.readDetached {
            try $0.first("SELECT count(*) FROM item") { $0.int(0) } ?? -1
          }
        }
      }
      return try await group.reduce(into: []) { $0.append($1) }
    }
    #expect(counts == [Int](repeating: 1, count: 50))
  }

  @Test func `detached writes are transactions too`() async throws {
    let store = try open(folder)
    await #expect(throws: StoreError.self) {
      try await store.writeDetached {
        try $0.execute("INSERT INTO item(id) VALUES (1)")
        try $0.execute("INSERT INTO item(id) VALUES (1)")
      }
    }
    #expect(try count(store) == 0)
    try await store.writeDetached { try $0.execute("INSERT INTO item(id) VALUES (1)") }
    #expect(try count(store) == 1)
  }

  @Test func `a second opening is refused and names the file`() throws {
    let store = try open(folder)
    let error = #expect(throws: StoreError.self) { try open(folder) }
    #expect(error?.code == .locked)
    #expect(error?.message.contains("a.sqlite") == true)
    store.close()
    #expect(try count(open(folder)) == 0)
  }

  @Test func `a copy of the lock's descriptor in a process that is just starting does not keep the lock`() throws {
    let store = try open(folder)
    // What a fork leaves to the child until its exec.
    let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")
    let held = descriptors.compactMap(Int32.init).filter {
      (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\($0)"))
        == folder.file("a.sqlite.lock")
    }
    let copy = dup(try #require(held.first))
    defer { close(copy) }
    store.close()
    #expect(try count(open(folder)) == 0)
  }

  @Test func `migrations run once each and in order`() throws {
    try insert(open(folder), 1)
    let more = migrations + [
      Migration(2, "ALTER TABLE item ADD COLUMN color TEXT; UPDATE item SET color = 'red';")
    ]
    for _ in 1...2 {
      let store = try open(folder, migrations: more)
      #expect(try store.read { try $0.first("SELECT color FROM item") { $0.string(0) } } == "red")
      try store.write { try $0.execute("UPDATE item SET color = 'red'") }
      store.close()
    }
  }

  @Test func `a migration that fails leaves the file as it was`() throws {
    try insert(open(folder), 1)
    let bad = migrations + [Migration(2, "ALTER TABLE item ADD COLUMN color TEXT; SELECT nothing;")]
    #expect(throws: StoreError.self) { try open(folder, migrations: bad) }
    let store = try open(folder)
    let columns = try store.read { try $0.query("PRAGMA table_info(item)") { $0.string(1) } }
    #expect(columns == ["id", "name", "weight", "body"])
  }

  @Test func `a file of a newer release is refused and left alone`() throws {
    let newer = migrations + [Migration(2, "CREATE TABLE later(id INTEGER)")]
    try open(folder, migrations: newer).close()
    let error = #expect(throws: StoreError.self) { try open(folder) }
    #expect(error?.code == .newerVersion)
    #expect(error?.message.contains("version 2") == true)
    #expect(try count(open(folder, migrations: newer)) == 0)
  }

  @Test func `a file that is no database is refused`() throws {
    try Data(repeating: 65, count: 10_000).write(to: URL(fileURLWithPath: folder.file("a.sqlite")))
    let error = #expect(throws: StoreError.self) { try open(folder) }
    #expect(error?.code == .corrupt)
  }

  @Test func `the files are their owner's only`() throws {
    let store = try open(folder)
    try insert(store, 1)
    for name in ["a.sqlite", "a.sqlite-wal", "a.sqlite.lock"] {
      let attributes = try FileManager.default.attributesOfItem(atPath: folder.file(name))
      #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
    }
  }

  @Test func `a missing folder is told`() throws {
    let error = #expect(throws: StoreError.self) {
      try Store(
        path: folder.file("none/a.sqlite"), options: StoreOptions(durability: .full),
        migrations: migrations)
    }
    #expect(error?.code == .cannotOpen)
  }

  @Test func `after a failed write nothing is written or read any more`() throws {
    let store = try open(folder, fileBytesMax: 64 << 10)
    let told = Mutex<[StoreError.Code]>([])
    store.onPoison { error in told.withLock { $0.append(error.code) } }
    try insert(store, 1)
    let error = #expect(throws: StoreError.self) { try insert(store, 2, bytes: 100_000) }
    #expect(error?.code == .diskFull)
    #expect(#expect(throws: StoreError.self) { try insert(store, 3) }?.code == .poisoned)
    #expect(#expect(throws: StoreError.self) { try count(store) }?.code == .poisoned)
    #expect(told.withLock { $0 } == [.diskFull])
    store.close()
    #expect(try count(open(folder)) == 1)
  }

  @Test func `a failure that the closure swallows poisons all the same`() throws {
    let store = try open(folder, fileBytesMax: 64 << 10)
    let error = #expect(throws: StoreError.self) {
      try store.write {
        try? $0.execute("INSERT INTO item(id, body) VALUES (2, zeroblob(100000))")
      }
    }
    #expect(error?.code == .diskFull)
    #expect(store.poison?.code == .diskFull)
  }

  @Test func `the log is checkpointed between commits and does not grow without end`() throws {
    let store = try open(folder, durability: .normal, checkpointBytes: 256 << 10)
    for id in 1...1_000 { try insert(store, id, bytes: 4_000) }
    let size = try FileManager.default.attributesOfItem(atPath: folder.file("a.sqlite-wal"))[.size]
    #expect(try #require(size as? Int) < 1 << 20)
    store.checkpoint()
    let after = try FileManager.default.attributesOfItem(atPath: folder.file("a.sqlite-wal"))[.size]
    #expect(try #require(after as? Int) == 0)
    #expect(try count(store) == 1_000)
  }
}
