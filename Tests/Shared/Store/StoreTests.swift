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

private final class End: Sendable {
  let hasCome = Atomic<Bool>(false)
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

  /// What lies in a folder but for the lock, whose content is who holds it.
  private func files(_ folder: TemporaryFolder) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: folder.path) where !name.hasSuffix(".lock") {
      files[name] = try Data(contentsOf: URL(fileURLWithPath: folder.file(name)))
    }
    return files
  }

  @Test(arguments: [false, true])
  func `a file of a newer release is refused and left alone, as its last process left it`(isKilled: Bool) throws {
    let newer = migrations + [Migration(2, "CREATE TABLE later(id INTEGER)")]
    let options = StoreOptions(durability: .full, checksPages: true, sealsCommits: true)
    let left = try TemporaryFolder()
    func open(_ folder: TemporaryFolder, _ migrations: [Migration]) throws -> Store {
      try Store(path: folder.file("a.sqlite"), options: options, migrations: migrations)
    }
    let store = try open(folder, newer)
    try insert(store, 1)
    if !isKilled { store.close() }
    // What a killed process leaves, its version in the write-ahead log alone; the index of that is memory's.
    for (name, content) in try files(folder) where !name.hasSuffix("-shm") {
      try content.write(to: URL(fileURLWithPath: left.file(name)))
    }
    let before = try files(left)
    #expect(before.keys.contains("a.sqlite-wal") == isKilled)
    let error = #expect(throws: StoreError.self) { try open(left, migrations) }
    #expect(error?.code == .newerVersion)
    #expect(error?.message.contains("version 2") == true)
    #expect(try files(left) == before)
    #expect(try count(open(left, newer)) == 1)
  }

  @Test func `a migration that fails after a crash loses nothing to the next start`() throws {
    let options = StoreOptions(durability: .full, checksPages: true, sealsCommits: true)
    let left = try TemporaryFolder()
    let store = try Store(path: folder.file("a.sqlite"), options: options, migrations: migrations)
    try insert(store, 1)
    for (name, content) in try files(folder) where !name.hasSuffix("-shm") {
      try content.write(to: URL(fileURLWithPath: left.file(name)))
    }
    let bad = migrations + [Migration(2, "SELECT nothing;")]
    #expect(throws: StoreError.self) {
      try Store(path: left.file("a.sqlite"), options: options, migrations: bad)
    }
    #expect(try count(Store(path: left.file("a.sqlite"), options: options, migrations: migrations)) == 1)
  }

  @Test func `nothing of what was deleted is left in the file, wherever SQLite has moved it before`() throws {
    let options = StoreOptions(
      durability: .full, pageBytes: 8_192, overwritesDeleted: true, checksPages: true)
    let store = try Store(path: folder.file("a.sqlite"), options: options, migrations: migrations)
    var state: UInt64 = 7
    func random(_ bound: UInt64) -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(state >> 33 % bound)
    }
    // In no order, of many sizes: pages split and rows move.
    for _ in 0..<60 {
      try store.write { connection in
        for _ in 0..<40 {
          try connection.execute(
            "INSERT OR REPLACE INTO item(id, name) VALUES (?, ?)",
            [.integer(random(1 << 20)), .text(String(repeating: "secret", count: 1 + random(400)))])
        }
        try connection.execute("DELETE FROM item WHERE id % 31 = ?", [.integer(random(31))])
      }
    }
    try store.write { try $0.execute("DELETE FROM item WHERE id % 3 > 0") }
    try store.write { try $0.execute("UPDATE item SET name = 'kept'") }
    #expect(try count(store) > 100)
    store.close()
    let bytes = try Data(contentsOf: URL(fileURLWithPath: folder.file("a.sqlite")))
    #expect(bytes.range(of: Data("kept".utf8)) != nil)
    #expect(bytes.range(of: Data("secret".utf8)) == nil)
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

  @Test func `on a full disk nothing of the transaction is kept, and the store goes on`() throws {
    let store = try open(folder, fileBytesMax: 64 << 10)
    try insert(store, 1)
    let error = #expect(throws: StoreError.self) {
      try store.write {
        try $0.execute("INSERT INTO item(id, body) VALUES (2, 'small')")
        try $0.execute("INSERT INTO item(id, body) VALUES (3, zeroblob(100000))")
      }
    }
    #expect(error?.code == .diskFull)
    #expect(store.poison == nil)
    #expect(try count(store) == 1)
    try insert(store, 4)
    try store.write { try $0.executeScript("PRAGMA max_page_count = 1000") }
    try insert(store, 5, bytes: 100_000)
    #expect(try count(store) == 3)
    store.close()
    #expect(try count(open(folder)) == 3)
  }

  @Test func `a full disk that the closure swallows ends the transaction all the same`() throws {
    let store = try open(folder, fileBytesMax: 64 << 10)
    let error = #expect(throws: StoreError.self) {
      try store.write {
        try $0.execute("INSERT INTO item(id, body) VALUES (1, 'small')")
        try? $0.execute("INSERT INTO item(id, body) VALUES (2, zeroblob(100000))")
      }
    }
    #expect(error?.code == .diskFull)
    #expect(try count(store) == 0)
  }

  /// Opens a store whose table's pages are damaged behind its back: the next write to it fails.
  private func openDamaged() throws -> Store {
    let first = try open(folder)
    for id in 1...50 { try insert(first, id, bytes: 1_000) }
    first.close()
    let path = URL(fileURLWithPath: folder.file("a.sqlite"))
    var bytes = try Data(contentsOf: path)
    for index in 4_096..<bytes.count { bytes[index] = 0xee }
    try bytes.write(to: path)
    return try open(folder)
  }

  @Test func `after a failed write nothing is written or read any more`() throws {
    let store = try openDamaged()
    let told = Mutex<[StoreError.Code]>([])
    store.onPoison { error in told.withLock { $0.append(error.code) } }
    #expect(#expect(throws: StoreError.self) { try insert(store, 60) }?.code == .corrupt)
    #expect(#expect(throws: StoreError.self) { try insert(store, 61) }?.code == .poisoned)
    #expect(#expect(throws: StoreError.self) { try count(store) }?.code == .poisoned)
    #expect(told.withLock { $0 } == [.corrupt])
    store.close()
  }

  @Test func `a failure that the closure swallows poisons all the same`() throws {
    let store = try openDamaged()
    let error = #expect(throws: StoreError.self) {
      try store.write { try? $0.execute("INSERT INTO item(id, body) VALUES (60, 'x')") }
    }
    #expect(error?.code == .corrupt)
    #expect(store.poison?.code == .corrupt)
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

  // MARK: Damage

  private func openChecked(_ path: String, checkpointBytes: Int = 4 << 20) throws -> Store {
    try Store(
      path: path,
      options: StoreOptions(
        durability: .full, pageBytes: 8_192, checkpointBytes: checkpointBytes, checksPages: true, sealsCommits: true),
      migrations: migrations)
  }

  /// A closed file with rows on many pages.
  private func makeChecked() throws -> String {
    let path = folder.file("checked.sqlite")
    let store = try openChecked(path)
    for id in 1...200 { try insert(store, id, bytes: 1_000) }
    store.close()
    return path
  }

  private func change(_ path: String, _ body: (inout Data) -> Void) throws {
    var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
    body(&bytes)
    try bytes.write(to: URL(fileURLWithPath: path))
  }

  @Test(arguments: [20_000, 50_001, 8_191, 100_000])
  func `a flipped bit in a page is found when the page is read`(at position: Int) throws {
    let path = try makeChecked()
    try change(path) { $0[position] ^= 4 }
    let error = #expect(throws: StoreError.self) {
      let store = try openChecked(path)
      defer { store.close() }
      try store.read { _ = try $0.query("SELECT * FROM item") { $0.bytes(3) } }
    }
    #expect(error?.code == .corrupt)
  }

  @Test func `a copy that another program made is given its checksums; without being a copy it is refused`() throws {
    let path = try makeChecked()
    // Another program leaves the reserved bytes of what it writes as they are.
    try change(path) { bytes in
      for page in stride(from: 0, to: bytes.count, by: 8_192) {
        bytes.replaceSubrange(page + 8_184..<page + 8_192, with: [1, 2, 3, 4, 5, 6, 7, 8])
      }
    }
    #expect(#expect(throws: StoreError.self) { try openChecked(path) }?.code == .corrupt)
    try FileManager.default.removeItem(atPath: path + "-seal")
    let store = try openChecked(path)
    #expect(try count(store) == 200)
    store.close()
    let again = try openChecked(path)
    #expect(try count(again) == 200)
    again.close()
  }

  /// Of a checkpoint's pages, those that follow one another are written as one: no reader may look for one that is not there yet.
  @Test func `readers see commits as a whole while checkpoints copy some or all of the log`() async throws {
    let store = try openChecked(folder.file("read.sqlite"), checkpointBytes: 128 << 10)
    for id in 1...200 { try insert(store, id, bytes: 1_000) }
    try store.write { try $0.execute("UPDATE item SET weight = 0") }
    let end = End()
    let reads = try await withThrowingTaskGroup(of: Int.self) { group in
      for reader in 0..<3 {
        group.addTask {
          var reads = 0
          while !end.hasCome.load(ordering: .relaxed) {
            let states = try await store.readDetached { connection in
              // Some keep the checkpoints from the newest of the log.
              let first = try connection.query("SELECT DISTINCT weight FROM item WHERE id <= 100") { $0.double(0) }
              if reader > 0 { usleep(UInt32(reader) * 700) }
              let rest = try connection.query("SELECT weight, body FROM item") {
                (weight: $0.double(0), isWhole: $0.bytes(1).allSatisfy { $0 == 7 })
              }
              #expect(rest.count >= 200 && rest.allSatisfy(\.isWhole))
              return Set(first).union(rest.map(\.weight))
            }
            #expect(states.count == 1)
            reads += 1
          }
          return reads
        }
      }
      for number in 1...600 {
        try await store.writeDetached { connection in
          try connection.execute("UPDATE item SET weight = ?", [.double(Double(number))])
          try connection.execute("INSERT INTO item(weight, body) VALUES (?, zeroblob(0))", [.double(Double(number))])
        }
      }
      end.hasCome.store(true, ordering: .relaxed)
      return try await group.reduce(0, +)
    }
    #expect(reads > 50)
    store.close()
    let again = try openChecked(folder.file("read.sqlite"))
    #expect(try count(again) == 800)
    again.close()
  }

  /// Copies what a killed process leaves: the file, its write-ahead log and its seal.
  private func copyRunning(_ path: String) throws -> String {
    let copy = folder.file("copy.sqlite")
    for end in ["", "-wal", "-seal"] {
      try FileManager.default.copyItem(atPath: path + end, toPath: copy + end)
    }
    return copy
  }

  @Test(arguments: ["nothing", "a bit", "the head", "a cut", "all of it"])
  func `a write-ahead log that has lost durable commits is refused`(damage: String) throws {
    let path = folder.file("sealed.sqlite")
    let store = try openChecked(path)
    for id in 1...50 { try insert(store, id, bytes: 1_000) }
    let copy = try copyRunning(path)
    store.close()
    try change(copy + "-wal") { bytes in
      switch damage {
      case "a bit": bytes[bytes.count / 2] ^= 1
      case "the head": bytes[17] ^= 1
      case "a cut": bytes = bytes.prefix(bytes.count - 5_000)
      case "all of it": bytes = Data()
      default: break
      }
    }
    guard damage != "nothing" else {
      let again = try openChecked(copy)
      #expect(try count(again) == 50)
      again.close()
      return
    }
    let error = #expect(throws: StoreError.self) { try openChecked(copy) }
    #expect(error?.code == .corrupt)
    #expect(error?.message.contains("has lost durable commits") == true)
    // Who says so goes on without them.
    try FileManager.default.removeItem(atPath: copy + "-seal")
    let again = try openChecked(copy)
    #expect(try count(again) < 50)
    again.close()
  }

  @Test func `a write-ahead log that began anew, or was emptied, is no loss`() throws {
    let path = folder.file("anew.sqlite")
    let store = try openChecked(path)
    for id in 1...50 { try insert(store, id, bytes: 1_000) }
    #expect(store.checkpoint(truncate: false))
    try insert(store, 51)
    let copy = try copyRunning(path)
    try insert(store, 52)
    #expect(store.checkpoint())
    store.close()
    let first = try openChecked(copy)
    #expect(try count(first) == 51)
    first.close()
    let second = try openChecked(path)
    #expect(try count(second) == 52)
    second.close()
  }
}
