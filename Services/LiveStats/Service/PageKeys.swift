import Events
import Store

/// The numbers of pages, as `live_page` has them. Confined to the store's writer.
struct PageKeys {
  private struct Key: Hashable {
    let app: Int64
    let path: String
  }

  private var known: [Key: UInt32] = [:]
  /// The page of the last call: many events follow one of the same page.
  private var last: (app: Int64, path: [UInt8], page: UInt32)?

  /// The page's number; 0 for no page, and for a page beyond `LiveLimits.pagesPerAppMax`.
  mutating func key(
    of path: UnsafeRawBufferPointer, app: Int64, _ connection: StoreConnection
  ) throws -> UInt32 {
    if path.isEmpty { return 0 }
    if let last, last.app == app, last.path.elementsEqual(path) { return last.page }
    let key = Key(app: app, path: String(decoding: path, as: UTF8.self))
    let page: UInt32
    if let found = known[key] {
      page = found
    } else {
      page = try stored(key, connection)
      if known.count >= LiveLimits.cachedPagesMax { known.removeAll() }
      known[key] = page
    }
    last = (app, Array(path), page)
    return page
  }

  private func stored(_ key: Key, _ connection: StoreConnection) throws -> UInt32 {
    let found = try connection.first(
      "SELECT page FROM live_page WHERE app = ? AND path = ?", [.integer(key.app), .text(key.path)]
    ) { UInt32(truncatingIfNeeded: $0.int64(0)) }
    return try found ?? add(key, connection)
  }

  private func add(_ key: Key, _ connection: StoreConnection) throws -> UInt32 {
    let next = try connection.first(
      "SELECT next_page, page_count FROM live_app WHERE app = ?", [.integer(key.app)]
    ) { (next: $0.int64(0), count: $0.int(1)) }
    guard let next, next.count < LiveLimits.pagesPerAppMax,
      let page = UInt32(exactly: next.next)
    else { return 0 }
    try connection.execute(
      "INSERT INTO live_page (app, page, path) VALUES (?, ?, ?)",
      [.integer(key.app), .integer(next.next), .text(key.path)])
    try connection.execute(
      "UPDATE live_app SET next_page = next_page + 1, page_count = page_count + 1 WHERE app = ?",
      [.integer(key.app)])
    return page
  }

  mutating func discard() {
    known.removeAll()
    last = nil
  }
}
