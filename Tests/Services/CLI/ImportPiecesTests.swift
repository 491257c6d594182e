import CLI
import Messages
import Testing

@Suite struct ImportPiecesTests {
  private func mapped(
    _ user: String, _ channel: String, _ time: Int64, size: Int = 50
  ) -> MappedEvent {
    var event = ProtoEvent()
    event.name = "visit"
    event.timeMs = time
    event.context.openID = user
    event.context.campaignSource = channel
    return MappedEvent(line: Int(time), row: [], size: size, event: event)
  }

  private func flatten(_ batches: [ImportBatch]) -> [String: [Int64]] {
    var times: [String: [Int64]] = [:]
    for batch in batches {
      times[batch.request.context.openID, default: []] += batch.request.events.map(\.timeMs)
    }
    return times
  }

  @Test("Batches hold one user each and keep the order of each user's events")
  func order() {
    let events = (1...300).map { mapped("u\($0 % 7)", "c", Int64($0)) }
    let batches = BatchBuilder.batches(of: events, appID: "shop", eventsMax: 10)
    let times = flatten(batches)
    #expect(times.count == 7)
    for (_, own) in times { #expect(own == own.sorted()) }
    #expect(times.values.map(\.count).reduce(0, +) == 300)
    #expect(batches.allSatisfy { $0.request.events.count <= 10 && $0.request.import })
    #expect(batches.allSatisfy { $0.request.events.allSatisfy { !$0.hasContext } })
    #expect(
      batches.allSatisfy { batch in
        batch.origins.map { Int64($0.line) } == batch.request.events.map(\.timeMs)
      })
  }

  @Test("A context that holds for a while is sent once, one that flickers with each event")
  func contexts() {
    let steady = (1...20).map { mapped("u", $0 <= 10 ? "a" : "b", Int64($0)) }
    let apart = BatchBuilder.batches(of: steady, appID: "", eventsMax: 500)
    #expect(apart.map(\.request.context.campaignSource) == ["a", "b"])

    let flickering = (1...20).map { mapped("u", "c\($0)", Int64($0)) }
    let together = BatchBuilder.batches(of: flickering, appID: "", eventsMax: 500)
    #expect(together.count == 1)
    #expect(together[0].request.context.campaignSource.isEmpty)
    #expect(together[0].request.context.openID == "u")
    #expect(
      together[0].request.events.map(\.context.campaignSource) == (1...20).map { "c\($0)" })
  }

  @Test("A batch of long rows stays below the bound of a message")
  func longRows() {
    let events = (1...100).map { mapped("u", "c", Int64($0), size: 200_000) }
    let batches = BatchBuilder.batches(of: events, appID: "", eventsMax: 500)
    #expect(batches.map(\.request.events.count) == Array(repeating: 2, count: 50))
    #expect(batches.flatMap { $0.origins.map(\.line) } == Array(1...100))
  }

  @Test("A row has the same name in every import, equal rows have different ones")
  func identity() {
    let rows = ["a", "b", "a", "a", "c"].map { Array($0.utf8) }
    var (first, second) = (RowIdentity(), RowIdentity())
    let names = rows.map { first.eventID(of: $0) }
    #expect(Set(names).count == 5)
    #expect(names == rows.map { second.eventID(of: $0) })
    #expect(names.allSatisfy { $0.utf8.count == 32 })
    // printf 'a\n0' | sha256sum
    #expect(names[0] == "6f3d685d893171d1d689bcd5e9909f4c")
  }

  @Test("Rows added in front of a file leave the names of the others alone")
  func identityOfMovedRows() {
    var (short, long) = (RowIdentity(), RowIdentity())
    let old = (1...5).map { short.eventID(of: Array("row \($0)".utf8)) }
    let new = (0...5).map { long.eventID(of: Array("row \($0)".utf8)) }
    #expect(Array(new.dropFirst()) == old)
  }

  @Test("The memory for equal rows is bounded, and equal rows within the window are told apart")
  func identityWindow() {
    var identity = RowIdentity(windowRows: 100)
    let first = identity.eventID(of: [1])
    for index in 0..<99 { _ = identity.eventID(of: [2, UInt8(index)]) }
    #expect(identity.eventID(of: [1]) != first)
    for index in 0..<250 { _ = identity.eventID(of: [3, UInt8(index)]) }
    #expect(identity.eventID(of: [1]) == first)
  }

  @Test("Refused rows are counted by reason and field, with their first lines")
  func report() {
    var report = ImportReport()
    for line in 1...9 {
      report.reject(LineProblem("bad_time", field: "time", "example \(line)"), line: line)
    }
    report.reject(LineProblem("required", field: "name", "name is missing"), line: 20)
    #expect(report.rejectedRows == 10)
    #expect(report.rejected[0].lines == [1, 2, 3, 4, 5])
    #expect(report.rejected[0].rows == 9)
    #expect(report.rejected[0].example == "example 1")
    for line in 1...500 { report.reject(LineProblem("r\(line)", ""), line: line) }
    #expect(report.rejected.count <= 201)
    #expect(report.rejectedRows == 510)
  }

  @Test("A state is found again by the same import only, a damaged one not at all")
  func state() throws {
    let folder = try TemporaryFolder()
    let file = ImportStateFile(folder: folder.path + "/new", identity: ["a", "b"])
    var state = file.fresh()
    var report = ImportReport()
    report.count(rows: 100)
    state.advance(to: 100, report: report)
    state.advance(to: 200, report: report)
    try file.save(state)
    #expect(file.load() == state)
    #expect(state.checkFrom == 100)
    #expect(ImportStateFile(folder: folder.path + "/new", identity: ["a", "c"]).load() == nil)
    _ = try folder.write(Array("{".utf8), name: String(file.path.dropFirst(folder.path.count + 1)))
    #expect(file.load() == nil)
  }
}
