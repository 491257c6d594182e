/// What of one user's events decides where opens begin: enough to cut them again when an event comes late, and no more.
///
/// The result does not depend on the order in which events come: an event that arrives after later ones is put at its
/// place (event time, then device sequence number, then log offset) and the opens are cut anew. Kept are the marks
/// (`$launch`, `$foreground`, `$background`), whatever the caller pins, and of the other events only those without which
/// a gap between kept events would exceed the timeout: a few entries for each open.
///
/// Two limits. Beyond `entriesMax` the oldest half is folded into a number: events older than that still count as events
/// but move no open. And the entries were thinned under the rules of the time: after a change of `SessionRules` to a
/// shorter timeout, opens cut before the change stay as they were.
package struct OpenTimeline: Sendable, Equatable {
  package static let entriesMax = 4_096

  package struct Entry: Sendable, Equatable {
    package var timeMilliseconds: Int64
    /// 0: none.
    package var sequence: UInt64
    package var mark: OpenMark
    /// The caller's number of the page that was visited, 0: none. An entry with a page is pinned.
    package var page: UInt32

    package init(timeMilliseconds: Int64, sequence: UInt64, mark: OpenMark, page: UInt32 = 0) {
      self.timeMilliseconds = timeMilliseconds
      self.sequence = sequence
      self.mark = mark
      self.page = page
    }

    /// Order of one user's events. Of equal ones the log's order holds: the one that came later is behind.
    @inline(__always)
    func isBehind(_ other: Entry) -> Bool {
      timeMilliseconds != other.timeMilliseconds
        ? timeMilliseconds > other.timeMilliseconds : sequence > other.sequence
    }
  }

  /// One open.
  package struct Open: Sendable, Equatable, Hashable {
    package var beginMilliseconds: Int64
    /// The first page that was visited in it, 0: none.
    package var page: UInt32

    package init(beginMilliseconds: Int64, page: UInt32) {
      self.beginMilliseconds = beginMilliseconds
      self.page = page
    }
  }

  package private(set) var entries: [Entry] = []
  /// Opens that begin before `entries`.
  package private(set) var foldedOpens: UInt64 = 0
  /// Events before this move no open. `Int64.min`: nothing was folded.
  package private(set) var floorMilliseconds = Int64.min
  /// The first entry goes on with an open that has been folded.
  private var firstContinues = false

  package init() {}

  // MARK: Events

  /// Puts an event at its place. Cost: constant for the latest event, else a binary search and a move.
  package mutating func insert(_ entry: Entry, rules: SessionRules) {
    guard entry.timeMilliseconds >= floorMilliseconds else { return }
    let place = placeBehindEqual(entry)
    if place > 0, place < entries.count, isIdle(entry),
      spans(place - 1, place, rules)
    {
      return
    }
    entries.insert(entry, at: place)
    // Around the new entry, an older one may have become needless.
    thin(place + 1, rules)
    thin(place - 1, rules)
  }

  private func placeBehindEqual(_ entry: Entry) -> Int {
    guard let last = entries.last, last.isBehind(entry) else { return entries.count }
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].isBehind(entry) { high = middle } else { low = middle + 1 }
    }
    return low
  }

  private mutating func thin(_ index: Int, _ rules: SessionRules) {
    guard index > 0, index < entries.count - 1, isIdle(entries[index]),
      spans(index - 1, index + 1, rules)
    else { return }
    entries.remove(at: index)
  }

  private func isIdle(_ entry: Entry) -> Bool { entry.mark == .none && entry.page == 0 }

  /// Whether the two entries stay together with nothing between them.
  private func spans(_ first: Int, _ second: Int, _ rules: SessionRules) -> Bool {
    entries[second].timeMilliseconds - entries[first].timeMilliseconds
      <= rules.timeoutMilliseconds
  }

  // MARK: Opens

  /// The opens that begin in `entries`, in order. Cost: linear in the entries.
  package func opens(_ rules: SessionRules) -> [Open] {
    var opens: [Open] = []
    forEachOpen(rules) { open, _ in opens.append(open) }
    return opens
  }

  /// All opens, the folded ones included.
  package func openCount(_ rules: SessionRules) -> UInt64 {
    var cutter = OpenCutter()
    var count: UInt64 = 0
    for entry in entries where cut(&cutter, entry, rules) { count += 1 }
    return foldedOpens + count - (firstContinues && !entries.isEmpty ? 1 : 0)
  }

  /// Calls `body` with each open and the index of its first entry.
  private func forEachOpen(_ rules: SessionRules, _ body: (Open, Int) -> Void) {
    var cutter = OpenCutter()
    var open: (Open, Int)?
    for (index, entry) in entries.enumerated() {
      if cut(&cutter, entry, rules) {
        if let (done, first) = open { body(done, first) }
        let continues = index == 0 && firstContinues
        open =
          continues
          ? nil
          : (Open(beginMilliseconds: entry.timeMilliseconds, page: entry.page), index)
      } else if open?.0.page == 0 {
        open?.0.page = entry.page
      }
    }
    if let (done, first) = open { body(done, first) }
  }

  @inline(__always)
  private func cut(_ cutter: inout OpenCutter, _ entry: Entry, _ rules: SessionRules) -> Bool {
    cutter.begins(entry.mark.kind, at: entry.timeMilliseconds, rules: rules)
  }

  // MARK: Folding

  /// Folds the oldest half where there are more than `entriesMax` entries.
  package mutating func foldIfFull(_ rules: SessionRules) {
    guard entries.count > Self.entriesMax else { return }
    let half = entries.count / 2
    var boundary = half
    var isStart = false
    forEachOpen(rules) { _, first in
      if first <= half, first > half / 2 { (boundary, isStart) = (first, true) }
    }
    fold(at: boundary, startsOpen: isStart, rules)
  }

  /// Folds the opens that ended before a time: all before the open that was the last to begin at or before it.
  package mutating func fold(before timeMilliseconds: Int64, _ rules: SessionRules) {
    guard let first = entries.first, first.timeMilliseconds < timeMilliseconds else { return }
    var boundary = 0
    forEachOpen(rules) { open, first in
      if open.beginMilliseconds <= timeMilliseconds { boundary = first }
    }
    if boundary > 0 { fold(at: boundary, startsOpen: true, rules) }
  }

  private mutating func fold(at boundary: Int, startsOpen: Bool, _ rules: SessionRules) {
    let before = openCount(rules)
    entries.removeFirst(boundary)
    floorMilliseconds = entries[0].timeMilliseconds
    firstContinues = !startsOpen
    foldedOpens = 0
    foldedOpens = before - openCount(rules)
  }

  // MARK: Bytes

  /// Appends the timeline: 1 byte of flags, the folded part where there is one, the entries as differences.
  ///
  /// ```
  /// flags | [floor, folded opens] | n | n x ( time step | sequence step | mark + 4 x page )
  /// ```
  package func encode(into writer: inout PackedWriter) {
    let isFolded = floorMilliseconds != .min
    writer.unsigned((isFolded ? 1 : 0) | (firstContinues ? 2 : 0))
    if isFolded {
      writer.signed(floorMilliseconds)
      writer.unsigned(foldedOpens)
    }
    writer.unsigned(UInt64(entries.count))
    var time: Int64 = 0
    var sequence: UInt64 = 0
    for entry in entries {
      writer.signed(entry.timeMilliseconds &- time)
      writer.signed(Int64(bitPattern: entry.sequence &- sequence))
      writer.unsigned(UInt64(entry.mark.rawValue) | UInt64(entry.page) << 2)
      (time, sequence) = (entry.timeMilliseconds, entry.sequence)
    }
  }

  package init(from reader: inout PackedReader) throws(PackedError) {
    let flags = try reader.unsigned()
    guard flags < 4 else { throw PackedError() }
    firstContinues = flags & 2 != 0
    if flags & 1 != 0 {
      floorMilliseconds = try reader.signed()
      foldedOpens = try reader.unsigned()
    }
    let count = try reader.count(max: Self.entriesMax + 1)
    entries.reserveCapacity(count + 8)
    var time: Int64 = 0
    var sequence: UInt64 = 0
    for _ in 0..<count {
      time &+= try reader.signed()
      sequence &+= UInt64(bitPattern: try reader.signed())
      let word = try reader.unsigned()
      guard let mark = OpenMark(rawValue: UInt8(word & 3)), word >> 2 <= UInt64(UInt32.max) else {
        throw PackedError()
      }
      entries.append(
        Entry(timeMilliseconds: time, sequence: sequence, mark: mark, page: UInt32(word >> 2)))
    }
  }
}
