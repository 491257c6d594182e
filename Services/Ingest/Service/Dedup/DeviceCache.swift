import Store

/// A device of an app.
struct DeviceKey: Hashable, BitwiseCopyable {
  let app: Int64
  let device: Hash128
}

/// The windows of the devices that sent last, backed by the table `device`. Changed windows are written in the transaction
/// that stores their events, so the two never disagree, whenever the process ends.
///
/// Used by the writer only.
final class DeviceCache {
  private struct Entry {
    var key: DeviceKey
    var newer: Int32
    var older: Int32
    var isDirty: Bool
  }

  private static let none: Int32 = -1
  private static let chunkSlots = 256

  private let capacity: Int
  private var slots: [DeviceKey: Int32] = [:]
  private var entries: [Entry] = []
  private var chunks: [UnsafeMutableRawPointer] = []
  private var newest = none
  private var oldest = none
  private var dirty: [Int32] = []
  private var scratch: [UInt8] = []

  /// - Parameter capacity: more than the devices of one transaction.
  init(capacity: Int) {
    precondition(capacity > 0)
    self.capacity = capacity
  }

  deinit { for chunk in chunks { chunk.deallocate() } }

  var count: Int { entries.count }

  /// The slot of a device's window, loaded or made. Valid until the next call.
  func slot(_ key: DeviceKey, _ connection: StoreConnection) throws -> Int32 {
    if let slot = slots[key] {
      touch(slot)
      return slot
    }
    let slot = try makeRoom(for: key)
    try load(slot, key, connection)
    return slot
  }

  func window(_ slot: Int32) -> DeviceWindow { DeviceWindow(memory: memory(slot)) }

  /// Has the window written by the next `save`.
  func markDirty(_ slot: Int32) {
    guard !entries[Int(slot)].isDirty else { return }
    entries[Int(slot)].isDirty = true
    dirty.append(slot)
  }

  /// Forgets all windows; the table has them. After a transaction that was rolled back.
  func removeAll() {
    slots.removeAll(keepingCapacity: true)
    entries.removeAll(keepingCapacity: true)
    for chunk in chunks { chunk.deallocate() }
    chunks.removeAll()
    dirty.removeAll(keepingCapacity: true)
    newest = Self.none
    oldest = Self.none
  }

  /// Writes the changed windows into the current transaction.
  func save(_ connection: StoreConnection) throws {
    guard !dirty.isEmpty else { return }
    let statement = try connection.statement(
      """
      INSERT INTO device(app, high, low, state) VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET state = excluded.state
      """)
    for slot in dirty {
      let key = entries[Int(slot)].key
      window(slot).encoded(into: &scratch)
      try bind(statement, key)
      try scratch.withUnsafeBytes { bytes in
        try statement.bind(4, blob: bytes)
        try statement.run()
      }
      entries[Int(slot)].isDirty = false
    }
    dirty.removeAll(keepingCapacity: true)
  }

  private func load(_ slot: Int32, _ key: DeviceKey, _ connection: StoreConnection) throws {
    memory(slot).initializeMemory(as: UInt8.self, repeating: 0, count: DeviceWindow.byteCount)
    let statement = try connection.statement(
      "SELECT state FROM device WHERE app = ? AND high = ? AND low = ?")
    defer { statement.reset() }
    try bind(statement, key)
    guard try statement.step() else { return }
    guard window(slot).decode(statement.blob(0)) else {
      throw StoreError(.corrupt, "the state of a device in the table `device` is damaged")
    }
  }

  private func bind(_ statement: StoreStatement, _ key: DeviceKey) throws {
    try statement.bind(1, key.app)
    try statement.bind(2, Int64(bitPattern: key.device.high))
    try statement.bind(3, Int64(bitPattern: key.device.low))
  }

  // MARK: Least recently used

  private func makeRoom(for key: DeviceKey) throws -> Int32 {
    let slot: Int32
    if entries.count < capacity {
      slot = Int32(entries.count)
      if entries.count % Self.chunkSlots == 0 {
        chunks.append(
          .allocate(byteCount: DeviceWindow.byteCount * Self.chunkSlots, alignment: 8))
      }
      entries.append(Entry(key: key, newer: Self.none, older: Self.none, isDirty: false))
    } else {
      slot = oldest
      precondition(!entries[Int(slot)].isDirty, "more devices in a transaction than fit")
      unlink(slot)
      slots[entries[Int(slot)].key] = nil
      entries[Int(slot)].key = key
    }
    slots[key] = slot
    link(slot)
    return slot
  }

  private func touch(_ slot: Int32) {
    guard slot != newest else { return }
    unlink(slot)
    link(slot)
  }

  private func link(_ slot: Int32) {
    entries[Int(slot)].older = newest
    entries[Int(slot)].newer = Self.none
    if newest == Self.none { oldest = slot } else { entries[Int(newest)].newer = slot }
    newest = slot
  }

  private func unlink(_ slot: Int32) {
    let entry = entries[Int(slot)]
    if entry.newer == Self.none {
      newest = entry.older
    } else {
      entries[Int(entry.newer)].older = entry.older
    }
    if entry.older == Self.none {
      oldest = entry.newer
    } else {
      entries[Int(entry.older)].newer = entry.newer
    }
  }

  private func memory(_ slot: Int32) -> UnsafeMutableRawPointer {
    chunks[Int(slot) / Self.chunkSlots] + Int(slot) % Self.chunkSlots * DeviceWindow.byteCount
  }
}
