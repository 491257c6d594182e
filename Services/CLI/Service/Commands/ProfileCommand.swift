import ArgumentParser
import Messages
import SwiftProtobuf

/// `footfall profile`.
struct ProfileCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "profile", abstract: "What is known of one user.")

  @Argument(help: "The user's open_id.")
  var openID: String
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    var request = ProtoGetProfileRequest()
    request.appID = app.appID
    request.openID = openID
    let profile = try await connection.withChannel(to: .userProfile) { channel in
      try await UserProfileClient(channel).getProfile(request)
    }
    if output.json { return try Printer.json(profile) }
    let zone = profile.info.timeZone
    var table = TextTable([("", .left), (profile.openID, .left)])
    table.add(["first active", NumberText.time(profile.firstActiveMs, zone: zone)])
    table.add(["last active", NumberText.time(profile.lastActiveMs, zone: zone)])
    table.add(["opens", NumberText.grouped(profile.sessionCnt)])
    table.add(["visits", NumberText.grouped(profile.visitPv)])
    table.add(["events", NumberText.grouped(profile.eventCnt)])
    table.add(["active days", NumberText.grouped(profile.activeDays)])
    for attribute in profile.attributes { table.add([attribute.name, attribute.value.text]) }
    Printer.write(table.text)
    Printer.line(profile.info.notes)
  }
}

/// `footfall portrait`.
struct PortraitCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "portrait",
    abstract: "Active and new users of 1, 7 or 30 days by gender and province.")

  @Option(help: "1, 7 or 30.")
  var days: Int32 = 30
  @Option(name: .customLong("to"), help: "Last day of the range, yyyy-mm-dd; by default today.")
  var end: String?
  @Option(
    name: .customLong("min-group"), help: "Smaller groups are merged; 1: show every group.")
  var minimumGroup: UInt32 = 0
  @OptionGroup var app: AppOptions
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func run() async throws {
    var period = PeriodOptions()
    (period.begin, period.end) = (nil, end)
    var request = ProtoGetPortraitRequest()
    request.appID = app.appID
    request.endDate = try period.range().endDate
    request.days = days
    request.minGroupUsers = minimumGroup
    let answer = try await connection.withChannel(to: .userProfile) { channel in
      try await UserProfileClient(channel).getPortrait(request)
    }
    if output.json { return try Printer.json(answer) }
    Printer.line("\(answer.refDate)")
    print("active users", answer.visitUv)
    print("new users", answer.visitUvNew)
    Printer.line(answer.info.notes)
  }

  private func print(_ title: String, _ portrait: ProtoPortrait) {
    Printer.line("\n\(title): \(NumberText.grouped(portrait.users))")
    for attributes in portrait.tables {
      var table = TextTable([(attributes.attribute, .left), ("users", .right), ("share", .right)])
      for item in attributes.items {
        let name = item.suppressed ? "(small groups)" : item.name.isEmpty ? "(unknown)" : item.name
        table.add([name, NumberText.grouped(item.users), NumberText.percent(item.share)])
      }
      Printer.write(table.text)
    }
  }
}
