import Events
import Query
import TestKit
import Foundation

/// A random app with a few users, on a clock that likes boundaries: equal times, exactly the timeout, midnight, changes
/// of daylight saving.
struct RandomData {
  static let zones = [
    "Asia/Shanghai", "UTC", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe",
    "Asia/Kolkata", "America/Sao_Paulo",
  ]
  static let names = [
    "$launch", "$foreground", "$background", "$page_view", "$page_view", "$page_view",
    "$page_leave", "$share", "$click", "catalog", "add_to_cart", "purchase",
  ]

  var events: [ReferenceEvent] = []
  /// In the order of the log.
  var batches: [[ReferenceEvent]] = []
  let zone: String
  let rules: ReferenceRules
  /// The first moment of the data, ms since 1970.
  let origin: Int64
  /// What the app says of its scenes in the end: it holds for all events, whenever they came.
  let sources: AppSources
  private let excludedScene: Int32
  private let isOfReleases: Bool

  /// - Parameter isOfReleases: no event is of another release channel.
  init(_ random: inout SeededRandom, isOfReleases: Bool = false) {
    self.isOfReleases = isOfReleases
    zone = random.pick(Self.zones)
    rules = ReferenceRules(
      mergeUnder: random.pick([0, 30_000, 120_000]),
      timeout: random.pick([1_000, 1_800_000, 1_800_000, 7_200_000, 86_400_000]))
    // Days before a change of daylight saving in New York and Berlin, or any day.
    origin = random.pick([1_709_596_800_000, 1_711_497_600_000, 1_730_246_400_000, 1_704_067_200_000])
    excludedScene = SceneTable.wechat.excludedCodes.first.map(Int32.init) ?? 0
    precondition(excludedScene != 0, "the table of scenes leaves some out")
    sources = random.below(2) == 0 ? AppSources(platform: "wechat") : Self.sources(&random)
    for user in 0..<(1 + random.below(6)) { addEvents(of: "user\(user)", &random) }
    batches = shuffledBatches(&random)
    number()
  }

  /// Other sources and exclusions for the scenes that the data has.
  static func sources(_ random: inout SeededRandom) -> AppSources {
    var overrides: [SceneOverride] = []
    for code in [1001, 1011, SceneTable.wechat.excludedCodes[0]] where random.below(2) == 0 {
      var override = SceneOverride(code: code)
      if random.below(3) > 0 { override.isExcluded = random.below(2) == 0 }
      if random.below(2) == 0 { override.sourceKey = 1 + random.below(57) }
      if random.below(2) == 0 { override.channel = random.pick(["street", "scan"]) }
      overrides.append(override)
    }
    var rule = ChannelRule()
    rule.scenes = [random.pick([1001, 1011])]
    return AppSources(
      platform: "wechat", overrides: overrides,
      groups: random.oneIn(3) ? [ChannelGroup(name: "own", rules: [rule])] : [],
      isWithoutDefaults: random.oneIn(4))
  }

  private mutating func addEvents(of user: String, _ random: inout SeededRandom) {
    var time = origin + Int64(random.below(4 * 86_400_000))
    var sequence: UInt64 = 1
    let isNumbered = random.below(2) == 0
    var context = Self.context(&random)
    for _ in 0..<(1 + random.below(40)) {
      time += gap(&random)
      if random.oneIn(12) { time = nearMidnight(time, &random) }
      if random.oneIn(10) { context = Self.context(&random) }
      var event = ReferenceEvent(
        user: user, time: time, sequence: isNumbered ? sequence : 0, offset: 0,
        name: random.pick(Self.names))
      sequence += 1
      event.context = context
      fill(&event, &random)
      events.append(event)
    }
  }

  private func gap(_ random: inout SeededRandom) -> Int64 {
    switch random.below(10) {
    case 0: 0
    case 1: 1
    case 2: rules.timeout
    case 3: rules.timeout + 1
    case 4: rules.mergeUnder
    case 5: rules.mergeUnder + 1
    case 6: Int64(random.below(3 * 3_600_000))
    case 7: random.oneIn(3) ? Int64(random.below(60 * 3_600_000)) : 5_000
    default: Int64(random.below(60_000))
    }
  }

  private func nearMidnight(_ time: Int64, _ random: inout SeededRandom) -> Int64 {
    guard let calendar = ReferenceCalendar(zone) else { return time }
    return max(time, calendar.interval(.day, around: time).upperBound - 2 + Int64(random.below(4)))
  }

  private static func context(_ random: inout SeededRandom) -> [String: ReferenceValue] {
    var context: [String: ReferenceValue] = [:]
    if !random.oneIn(4) { context["platform"] = .text(random.pick(["ios", "android", "desktop"])) }
    if !random.oneIn(3) { context["province"] = .text(random.pick(["四川", "北京", "Bern"])) }
    if random.oneIn(3) { context["age"] = .integer(random.pick([17, 30, 64])) }
    return context
  }

  private func fill(_ event: inout ReferenceEvent, _ random: inout SeededRandom) {
    if !random.oneIn(6) { event.page = random.pick(["pages/a", "pages/b", "pages/c/d", "pages/e"]) }
    event.isPassive = random.oneIn(12)
    if !isOfReleases, random.oneIn(15) { event.channel = random.pick(["trial", "develop"]) }
    if random.oneIn(3) { event.scene = random.pick([1001, 1011, excludedScene]) }
    event.isExcludedScene = sources.scenes.isExcluded(Int(event.scene))
    if event.name == "$page_leave", random.below(2) == 0 {
      event.fields["stay_ms"] = .integer(Int64(random.below(20_000)))
    }
    if random.oneIn(4) { event.fields["price"] = .integer(Int64(random.below(5)) - 2) }
    if random.oneIn(4) { event.fields["rate"] = .double(random.pick([0.5, 1, 2.25, -1])) }
    if random.oneIn(4) { event.fields["tag"] = .text(random.pick(["", "red", "green", "grün"])) }
    if random.oneIn(5) { event.fields["vip"] = .boolean(random.below(2) == 0) }
  }

  /// Batches of one user in a random order: some events come late.
  private func shuffledBatches(_ random: inout SeededRandom) -> [[ReferenceEvent]] {
    var batches: [[ReferenceEvent]] = []
    var rest = events
    if random.below(2) == 0 { rest.shuffle(using: &random) }
    for event in rest {
      if let last = batches.indices.last, batches[last][0].user == event.user, !random.oneIn(4) {
        batches[last].append(event)
      } else {
        batches.append([event])
      }
    }
    if random.oneIn(3) { batches.shuffle(using: &random) }
    return batches
  }

  /// Gives each event its place in the log, after all of those before it.
  private mutating func number() {
    var offset: UInt64 = 0
    for batch in batches.indices {
      for event in batches[batch].indices {
        // A batch has one context; an event that leaves a field out would take it from the batch.
        batches[batch][event].context = batches[batch][0].context
        if batches[batch][event].scene == 0 {
          batches[batch][event].scene = batches[batch][0].scene
          batches[batch][event].isExcludedScene = batches[batch][0].isExcludedScene
        }
        batches[batch][event].offset = offset
        offset += 1
      }
    }
    events = batches.flatMap { $0 }
  }

  var definition: AppDefinition {
    get throws {
      AppDefinition(
        appID: "shop", platform: "wechat", timeZone: zone,
        sessionRules: try SessionRules(
          mergeUnderMilliseconds: rules.mergeUnder, timeoutMilliseconds: rules.timeout))
    }
  }

  /// Events of users who are erased before any other events come: of strangers, and of `user0`, who is one afterwards. Their
  /// values are partly those of others.
  private func erasedBatches(_ random: inout SeededRandom) -> [[ReferenceEvent]] {
    ["user0", "ghost"].map { user in
      (0..<10).map { index in
        var event = ReferenceEvent(
          user: user, time: origin + Int64(random.below(9 * 86_400_000)), sequence: UInt64(index),
          offset: 0, name: random.pick(Self.names + ["haunt"]))
        event.page = random.pick(["pages/a", "pages/ghost"])
        event.context = ["province": .text("Styx"), "platform": .text("ios")]
        event.fields = ["tag": .text(random.pick(["red", "pale"])), "chain": .text("iron")]
        return event
      }
    }
  }

  /// Leaves the engine as if they had never come, at once or by the next merge.
  private func applyErased(to harness: EngineHarness, _ random: inout SeededRandom) throws {
    try harness.apply(erasedBatches(&random), receivedMilliseconds: origin, isCounted: false)
    if random.below(2) == 0 { try harness.engine.mergeIfDue(rows: 1) }
    for user in ["user0", "ghost"] { try harness.erase(user) }
    if random.below(2) == 0 { try harness.reopen() }
    if random.below(2) == 0 { try harness.engine.mergeIfDue(rows: .max) }
  }

  /// Applies everything to an engine, with merges, reopenings and failed transactions at random between.
  ///
  /// - Parameter withErasures: sometimes there were other users before, who were erased.
  func apply(
    to harness: EngineHarness, _ random: inout SeededRandom, withErasures: Bool = true
  ) throws {
    // Random numbers of its own, so that a seed means what it did.
    var ghosts = SeededRandom(seed: UInt64(bitPattern: origin) &+ UInt64(events.count))
    let hasErased = withErasures && ghosts.oneIn(4)
    if hasErased { try applyErased(to: harness, &ghosts) }
    try applyAll(to: harness, &random)
    if hasErased, harness.engine.waitingErasures > 0 {
      try harness.engine.mergeIfDue(rows: .max)
    }
  }

  private func applyAll(to harness: EngineHarness, _ random: inout SeededRandom) throws {
    let mode = random.below(3)
    var rest = batches[...]
    while !rest.isEmpty {
      let part = Array(rest.prefix(1 + random.below(6)))
      rest = rest.dropFirst(part.count)
      let received = part.flatMap { $0 }.map(\.time).max() ?? 0
      if random.oneIn(6) {
        let half = random.below(part.count + 1)
        try harness.redefine(
          Self.sources(&random), between: Array(part[..<half]), and: Array(part[half...]),
          receivedMilliseconds: received)
        continue
      }
      if random.oneIn(8) { try harness.redefineAndFail(Self.sources(&random)) }
      if random.oneIn(8) { try harness.applyAndFail(part, receivedMilliseconds: received) }
      try harness.apply(part, receivedMilliseconds: received)
      // 0: all stays unsealed. 1: sealed now and then. 2: sealed at the end.
      if mode == 1, random.oneIn(3) {
        try harness.engine.mergeIfDue(rows: 1, [.all, .cheap, .past][rest.count % 3])
        if rest.count % 3 == 0 { try harness.engine.compressIfQuiet(seconds: 0) }
      }
      if random.oneIn(6) { try harness.reopen() }
    }
    if harness.definition.sources != sources { try harness.redefine(sources) }
    if mode == 2 { try harness.engine.mergeIfDue(rows: 1) }
    if random.oneIn(3) { try harness.reopen() }
  }

  /// A field of an event, those included that the app's sources make of it.
  func value(_ field: String, of event: ReferenceEvent) -> ReferenceValue? {
    switch field {
    case "source_key":
      event.scene == 0 ? nil : .integer(Int64(sources.scenes.sourceKey(Int(event.scene))))
    case "channel":
      .text(sources.channel(of: ChannelInput(scene: Int(event.scene))))
    default: event.value(field)
    }
  }
}
