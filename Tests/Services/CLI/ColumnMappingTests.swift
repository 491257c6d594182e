import CLI
import Messages
import Testing

@Suite struct ColumnMappingTests {
  private func mapping(
    _ maps: [String] = [], set constants: [String] = [], rename: [String] = [], keeps: Bool = true
  ) throws -> ColumnMapping {
    try ColumnMapping(maps: maps, constants: constants, renames: rename, keepsUnmapped: keeps)
  }

  private func event(
    _ mapping: ColumnMapping, _ columns: [String], _ values: [CellValue]
  ) throws -> ProtoEvent {
    let clock = try #require(ZoneClock(identifier: "UTC"))
    var mapper = EventMapper(mapping: mapping, times: .automatic, clock: clock)
    let cells = values.enumerated().map { Cell(column: $0.offset, value: $0.element) }
    return try mapper.event(of: cells, columns: columns, eventID: "id")
  }

  @Test("Columns go where they are mapped, by their own name, or into fields")
  func targets() throws {
    let mapping = try mapping([
      "user_id=open_id", "event=name", "timestamp=time", "acquisition_channel=campaign_source",
      "Unit Price=fields.price:double", "secret=-",
    ])
    let columns = [
      "user_id", "event", "timestamp", "acquisition_channel", "platform", "Unit Price", "secret",
      "User Cohort", "scene",
    ]
    let values = ["u1", "purchase", "1710325274", "email", "mobile", "9.5", "x", "2024-01", "1001"]
    let event = try event(mapping, columns, values.map { .text($0) })
    #expect(event.name == "purchase")
    #expect(event.timeMs == 1_710_325_274_000)
    #expect(event.context.openID == "u1")
    #expect(event.context.campaignSource == "email")
    #expect(event.context.platform == "mobile")
    #expect(event.context.scene == 1_001)
    #expect(event.fields.map(\.name) == ["price", "user_cohort"])
    #expect(event.fields[0].value.doubleValue == 9.5)
    #expect(event.fields[1].value.stringValue == "2024-01")
    #expect(event.eventID == "id")
  }

  @Test("Constants fill what no column says, columns win over them")
  func constants() throws {
    let mapping = try mapping(
      ["who=open_id"], set: ["name=order", "platform=web", "time=2024-03-13"])
    let event = try event(
      mapping, ["who", "platform"], [.text("u1"), .text("ios")])
    #expect(event.name == "order")
    #expect(event.context.platform == "ios")
    #expect(event.timeMs == 1_710_288_000_000)
  }

  @Test("Events can be renamed, so that visits of another system become visits")
  func renames() throws {
    let mapping = try mapping(rename: ["Page View=$page_view"])
    let event = try event(
      mapping, ["open_id", "name", "time"],
      [.text("u"), .text("Page View"), .integer(1_710_325_274_000)])
    #expect(event.name == "$page_view")
  }

  @Test("JSON values keep their types in fields")
  func types() throws {
    let event = try event(
      mapping(), ["open_id", "name", "time", "n", "d", "b", "s"],
      [
        .text("u"), .text("e"), .integer(1_710_325_274), .integer(7), .double(1.5), .boolean(true),
        .text("x"),
      ])
    #expect(
      event.fields.map(\.value.kind) == [
        .integerValue(7), .doubleValue(1.5), .booleanValue(true), .stringValue("x"),
      ])
  }

  @Test(
    "A row that lacks or breaks something is refused with the field's name",
    arguments: [
      (["", "e", "1710325274", "1"], "required", "open_id"),
      (["u", "", "1710325274", "1"], "required", "name"),
      (["u", "e", "", "1"], "required", "time"),
      (["u", "e", "soon", "1"], "bad_time", "time"),
      (["u", "e", "1969-01-01", "1"], "out_of_range", "time"),
      (["u", "e", "1710325274", "many"], "wrong_type", "fields.count"),
    ])
  func refusedRows(values: [String], reason: String, field: String) throws {
    let mapping = try mapping(["count=fields.count:integer"])
    let columns = ["open_id", "name", "time", "count"]
    let clock = try #require(ZoneClock(identifier: "UTC"))
    var mapper = EventMapper(mapping: mapping, times: .automatic, clock: clock)
    let cells = values.enumerated().filter { !$0.element.isEmpty }.map {
      Cell(column: $0.offset, value: .text($0.element))
    }
    let problem = #expect(throws: LineProblem.self) {
      try mapper.event(of: cells, columns: columns, eventID: "id")
    }
    #expect(problem?.reason == reason)
    #expect(problem?.field == field)
  }

  @Test(
    "Mappings that cannot be meant are refused",
    arguments: [
      ["user_id"], ["=open_id"], ["a=nowhere"], ["a=name", "a=time"], ["a=name", "b=name"],
      ["a=fields.Bad Name"], ["a=fields.x:date"],
    ])
  func badMaps(maps: [String]) {
    #expect(throws: LineProblem.self) { try mapping(maps) }
  }

  @Test("A missing column and a missing target are told before the first line is sent")
  func check() throws {
    #expect(throws: LineProblem.self) {
      try mapping(["user=open_id"]).check(columns: ["open_id", "name", "time"])
    }
    #expect(throws: LineProblem.self) { try mapping().check(columns: ["open_id", "name"]) }
    try mapping().check(columns: ["open_id", "name", "time"])
    try mapping(set: ["name=x"]).check(columns: ["open_id", "time"])
  }
}
