import Events
import Messages
import Subscription

/// GetPortrait as a value.
struct PortraitQuestion: Sendable {
  /// Days since 1970 in the app's zone.
  let days: ClosedRange<Int32>
  let minGroupUsers: UInt64

  init(_ request: ProtoGetPortraitRequest) throws {
    guard ProfileLimits.portraitDays.contains(request.days) else {
      throw ProfileQuestionError.badDays(request.days)
    }
    guard request.minGroupUsers <= ProfileLimits.minGroupUsersMax else {
      throw ProfileQuestionError.badMinGroupUsers(request.minGroupUsers)
    }
    let last = Int32(clamping: try DayRange.day(request.endDate, field: "end_date"))
    days = (last - request.days + 1)...last
    minGroupUsers = UInt64(
      request.minGroupUsers == 0 ? ProfileLimits.minGroupUsersDefault : request.minGroupUsers)
  }

  var refDate: String {
    days.count == 1
      ? CivilPeriod.refDate(day: Int(days.upperBound))
      : CivilPeriod.refDate(days: Int(days.lowerBound)...Int(days.upperBound))
  }
}

func checkedOpenID(_ openID: String) throws(ProfileQuestionError) -> String {
  guard OpenID(openID) != nil else { throw .badOpenID(openID.utf8.count) }
  return openID
}

extension UserProfileService {
  private static func info(
    _ reader: ProfileReader, _ position: LogPosition, _ app: DirectoryApp, events: UInt64,
    excluded: ExcludedCounts
  ) -> ProtoAnswerInfo {
    var info = ProtoAnswerInfo()
    info.asOfOffset = position.nextOffset
    info.asOfEventTimeMs = reader.latestMilliseconds
    info.timeZone = app.calendar.identifier
    info.definitionVersion = ProfileLimits.definitionVersion
    info.eventsRead = events
    info.excluded = [
      (ExclusionReason.scene, excluded.scene), (.releaseChannel, excluded.channel),
    ].filter { $0.1 > 0 }.map { reason, events in
      var excluded = ProtoExcludedEvents()
      excluded.reason = reason.name
      excluded.events = events
      return excluded
    }
    return info
  }

  /// Of one user: all that happened so far, which is never over.
  static func info(
    _ reader: ProfileReader, _ position: LogPosition, _ app: DirectoryApp, user: UserState
  ) -> ProtoAnswerInfo {
    info(reader, position, app, events: user.events, excluded: user.excluded)
  }

  static func info(
    _ reader: ProfileReader, _ position: LogPosition, _ app: DirectoryApp, _ totals: DayTotals,
    days: ClosedRange<Int32>
  ) -> ProtoAnswerInfo {
    var info = info(reader, position, app, events: totals.events, excluded: totals.excluded)
    let end = app.calendar.range(ofDay: Int(days.upperBound)).upperBound
    info.complete = end <= position.lastReceivedMilliseconds
    return info
  }
}

extension ProtoProfile {
  init(_ user: UserState, openID: String, rules: SessionRules, info: ProtoAnswerInfo) {
    self.init()
    self.openID = openID
    attributes = user.attributes.all.map { field, known in
      var attribute = ProtoAttribute()
      attribute.name = field.name
      attribute.timeMs = known.timeMilliseconds
      switch known.value {
      case .text(let text): attribute.value.stringValue = text
      case .integer(let integer): attribute.value.integerValue = integer
      }
      return attribute
    }
    firstActiveMs = user.firstActiveMilliseconds
    lastActiveMs = user.lastActiveMilliseconds
    sessionCnt = user.opens(rules)
    visitPv = user.pageViews
    eventCnt = user.events
    activeDays = user.days.count
    self.info = info
  }
}

extension ProtoGetPortraitResponse {
  init(
    _ question: PortraitQuestion, active: RawPortrait, new: RawPortrait, info: ProtoAnswerInfo
  ) {
    self.init()
    refDate = question.refDate
    visitUv = ProtoPortrait(active, minGroupUsers: question.minGroupUsers)
    visitUvNew = ProtoPortrait(new, minGroupUsers: question.minGroupUsers)
    self.info = info
  }
}

extension ProtoPortrait {
  init(_ portrait: RawPortrait, minGroupUsers: UInt64) {
    self.init()
    users = portrait.users
    tables = PortraitColumns.attributes.map { attribute in
      var table = ProtoPortraitTable()
      table.attribute = attribute.name
      let groups = (portrait.groups[attribute] ?? [:]).map {
        PortraitGroup(name: $0.key, users: $0.value)
      }
      table.items = Suppression.apply(groups, minUsers: minGroupUsers).map { group in
        var item = ProtoPortraitItem()
        item.name = group.name
        item.suppressed = group.isSuppressed
        item.users = group.users
        item.share = portrait.users == 0 ? 0 : Double(group.users) / Double(portrait.users)
        return item
      }
      return table
    }
  }
}
