package import Messages

/// Invented traffic of one mini program, the same for the same seed: users who come back on some days, opens of pages,
/// clicks and shares. On purpose it holds what is easily counted wrong: equal times, breaks of exactly the bounds of the
/// session rule, returns from the background, server-sent events, scenes and release channels that reports leave out.
package struct Traffic {
  package struct Options: Sendable {
    package var seed: UInt64
    package var users: Int
    package var days: Int
    /// Beginning of the first day, ms since 1970.
    package var beginMilliseconds: Int64
    /// History: neither late nor corrected. Needs a token with `ingest:import`.
    package var isImport: Bool

    package init(
      seed: UInt64, users: Int, days: Int, beginMilliseconds: Int64, isImport: Bool = true
    ) {
      self.seed = seed
      self.users = users
      self.days = days
      self.beginMilliseconds = beginMilliseconds
      self.isImport = isImport
    }
  }

  private static let pages = [
    "pages/index", "pages/search", "pages/list", "pages/product/detail", "pages/cart", "pages/pay",
    "pages/me",
  ]
  private static let provinces = ["广东省", "北京市", "浙江省", "四川省", ""]
  private static let genders = ["male", "female", ""]
  /// Among them a crawler's (1129), which reports leave out.
  private static let scenes: [Int32] = [1001, 1005, 1007, 1011, 1089, 1129, 0]
  /// Breaks between opens, ms: around the bounds of the classic rule, and longer.
  private static let breaks: [Int64] = [
    1_799_999, 1_800_000, 1_800_001, 2_400_000, 10_800_000,
  ]

  private let options: Options
  private var random: SeededRandom

  package init(_ options: Options) {
    self.options = options
    random = SeededRandom(seed: options.seed)
  }

  /// Every user's batches, each of at most 20 events, in the order in which the device sends them.
  package mutating func requests(appID: String = "") -> [ProtoCollectRequest] {
    (0..<options.users).flatMap { user in requests(ofUser: user, appID: appID) }
  }

  /// The same requests as an impatient network delivers them: users mixed, some batches sent twice, each device's own still in
  /// order.
  package mutating func delivered(_ requests: [ProtoCollectRequest]) -> [ProtoCollectRequest] {
    var queues = Dictionary(grouping: requests, by: \.deviceID)
      .sorted { $0.key < $1.key }.map { Array($0.value.reversed()) }
    var delivered: [ProtoCollectRequest] = []
    while !queues.isEmpty {
      let chosen = random.below(queues.count)
      guard let request = queues[chosen].popLast() else {
        queues.remove(at: chosen)
        continue
      }
      delivered.append(request)
      if random.oneIn(10) { delivered.append(request) }
    }
    return delivered
  }

  private mutating func requests(ofUser user: Int, appID: String) -> [ProtoCollectRequest] {
    var device = Device(user: user, appID: appID, isImport: options.isImport)
    device.context.province = random.pick(Self.provinces)
    device.context.gender = random.pick(Self.genders)
    device.context.platform = random.pick(["ios", "android", "devtools"])
    device.context.age = Int32(random.below(70))
    for day in 0..<options.days where random.oneIn(3) {
      var time = options.beginMilliseconds + Int64(day) * 86_400_000
      // Anywhere in the day, midnight and the hour of daylight saving included.
      time += Int64(random.below(86_400)) * 1_000
      for _ in 0...random.below(3) {
        device.context.scene = random.pick(Self.scenes)
        device.context.releaseChannel = random.oneIn(20) ? .trial : .release
        open(&device, at: &time)
        device.send()
        time += random.pick(Self.breaks)
      }
    }
    return device.requests
  }

  /// One open: launch, pages, a background now and then.
  private mutating func open(_ device: inout Device, at time: inout Int64) {
    device.add("$launch", at: time)
    device.add("$foreground", at: time)
    for _ in 0...random.below(6) {
      let page = random.pick(Self.pages)
      device.add("$page_view", at: time, page: page)
      let stay = Int64(random.below(90_000))
      if random.oneIn(2) { device.add("$click", at: time + stay / 2, page: page) }
      if random.oneIn(8) { device.add("$share", at: time + stay / 2, page: page) }
      if page == "pages/pay", random.oneIn(2) {
        device.add("purchase", at: time + stay, page: page, price: Double(random.below(10_000)) / 100)
      }
      time += stay
      if random.oneIn(3) { device.add("$page_leave", at: time, page: page, stay: stay) }
      if random.oneIn(6) {
        device.add("$background", at: time)
        time += random.pick([1_000, 29_999, 30_000, 30_001, 600_000])
        device.add("$foreground", at: time)
      }
    }
    if random.oneIn(10) { device.add("order_shipped", at: time + 7_200_000, isPassive: true) }
  }
}

/// One user's device and what it has still to send.
private struct Device {
  var context = ProtoContext()
  var requests: [ProtoCollectRequest] = []
  private var events: [ProtoEvent] = []
  private var sequence: UInt64 = 0
  private let deviceID: String
  private let appID: String
  private let isImport: Bool

  init(user: Int, appID: String, isImport: Bool) {
    context.openID = "user-\(user)"
    deviceID = "device-\(user)"
    self.appID = appID
    self.isImport = isImport
  }

  mutating func add(
    _ name: String, at time: Int64, page: String = "", price: Double? = nil, stay: Int64? = nil,
    isPassive: Bool = false
  ) {
    var event = ProtoEvent()
    sequence += 1
    event.sequence = sequence
    event.name = name
    event.timeMs = time
    event.pagePath = page
    event.passive = isPassive
    if let price { event.fields.append(Self.field("price") { $0.doubleValue = price }) }
    if let stay { event.fields.append(Self.field("stay_ms") { $0.integerValue = stay }) }
    events.append(event)
    if events.count == 20 { send() }
  }

  private static func field(_ name: String, _ set: (inout ProtoFieldValue) -> Void) -> ProtoField {
    var field = ProtoField()
    field.name = name
    set(&field.value)
    return field
  }

  mutating func send() {
    guard !events.isEmpty else { return }
    var request = ProtoCollectRequest()
    request.appID = appID
    request.deviceID = deviceID
    request.context = context
    request.import = isImport
    request.events = events
    requests.append(request)
    events = []
  }
}
