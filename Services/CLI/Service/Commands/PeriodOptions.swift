import ArgumentParser
import Foundation
import Messages
import RPC

/// The days that a report is about.
struct PeriodOptions: ParsableArguments {
  @Option(name: .customLong("from"), help: "First day, yyyy-mm-dd; by default 29 days before the last.")
  var begin: String?
  @Option(name: .customLong("to"), help: "Last day, included; by default today.")
  var end: String?

  /// - Parameter daysAhead: how far beyond today the last day lies where none is given. The app's day may have begun before
  ///   this machine's.
  func range(daysAhead: Int64 = 0) throws -> ProtoDateRange {
    var range = ProtoDateRange()
    range.endDate = end ?? Self.day(WallClock.nowMilliseconds + daysAhead * 86_400_000)
    if let begin {
      range.beginDate = begin
    } else {
      guard let end = TimeReader(.automatic).read(range.endDate) else {
        throw CommandFailure.usage("--to: \"\(range.endDate)\" is not a day such as 2024-03-31")
      }
      let first = end.localMilliseconds - 29 * 86_400_000
      range.beginDate = CivilTime(localMilliseconds: first).date
    }
    return range
  }

  /// The day on this machine.
  private static func day(_ milliseconds: Int64) -> String {
    let date = Date(timeIntervalSince1970: Double(milliseconds) / 1_000)
    let offset = Int64(TimeZone.current.secondsFromGMT(for: date)) * 1_000
    return CivilTime(localMilliseconds: milliseconds + offset).date
  }
}

/// What a report counts.
struct ScopeOptions: ParsableArguments {
  @Option(help: "Count only what matches: platform = desktop and price >= 10.")
  var filter: String?
  @Option(help: "Give the figures apart by this field.")
  var breakdown: String?
  @Option(name: .customLong("breakdown-limit"), help: "The most values; the rest is (other).")
  var breakdownLimit: UInt32 = 0
  @Option(name: .customLong("channel"), help: "release, trial or develop.")
  var channel = "release"
  @Flag(
    name: .customLong("include-excluded-scenes"),
    help: "Count crawlers, load tests and the like too.")
  var includesExcludedScenes = false

  func releaseChannel() throws -> ProtoReleaseChannel {
    switch channel {
    case "release": .release
    case "trial": .trial
    case "develop": .develop
    default:
      throw CommandFailure.usage("--channel: \"\(channel)\" is none of release, trial, develop")
    }
  }
}
