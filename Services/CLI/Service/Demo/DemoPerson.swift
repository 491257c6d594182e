import Messages

/// One invented user: the same index is always the same person.
struct DemoPerson {
  let openID: String
  /// Share of days on which the person comes.
  let loyalty: Double
  /// Day on which the person may first come, counted from the begin of the demo's history.
  let joinDay: Int
  private let base: ProtoContext

  private static let places: [(value: (String, [String]), weight: Double)] = [
    (("广东", ["深圳", "广州", "东莞"]), 18), (("浙江", ["杭州", "宁波"]), 12),
    (("江苏", ["南京", "苏州"]), 12), (("北京", ["北京"]), 11), (("上海", ["上海"]), 11),
    (("四川", ["成都", "绵阳"]), 9), (("湖北", ["武汉"]), 7), (("山东", ["济南", "青岛"]), 7),
    (("河南", ["郑州"]), 6), (("陕西", ["西安"]), 4), (("云南", ["昆明"]), 3),
  ]

  private static let phones: [(value: (brand: String, model: String, os: String), weight: Double)] = [
    (("Apple", "iPhone 15", "ios"), 17), (("Apple", "iPhone 13", "ios"), 13),
    (("HUAWEI", "Mate 60 Pro", "android"), 17), (("HUAWEI", "P50", "android"), 9),
    (("Xiaomi", "Xiaomi 14", "android"), 14), (("OPPO", "Reno11", "android"), 11),
    (("vivo", "X100", "android"), 11), (("HONOR", "Magic6", "android"), 8),
  ]

  init(index: Int, seed: UInt64, historyDays: Int) {
    var random = SeededRandom(seed, 1, UInt64(index))
    openID = "demo_user_\(index)"
    loyalty = random.pick([(0.5, 1), (0.2, 3), (0.06, 6)])
    // A third is there from the first day, the others come in over the history's course.
    joinDay = random.happens(0.33) ? 0 : Int.random(in: 0...historyDays, using: &random)
    var context = ProtoContext()
    context.openID = openID
    context.country = "中国"
    let place = random.pick(Self.places)
    context.province = place.0
    context.city = place.1.randomElement(using: &random) ?? place.0
    context.gender = random.pick([("female", 55), ("male", 40), ("", 5)])
    context.age = Int32.random(in: 16...64, using: &random)
    let phone = random.pick(Self.phones)
    context.deviceBrand = phone.brand
    context.manufacturer = phone.brand
    context.deviceModel = phone.model
    context.osName = phone.os
    context.platform = phone.os
    context.osVersion = phone.os == "ios" ? "17.4" : "14"
    context.device = "phone"
    context.language = "zh_CN"
    context.deviceWidth = phone.os == "ios" ? 390 : 412
    context.deviceHeight = phone.os == "ios" ? 844 : 915
    context.hostVersion = "8.0.49"
    context.sdkVersion = "3.4.3"
    base = context
  }

  /// What is said of one open.
  func context(random: inout SeededRandom, shareID: String) -> ProtoContext {
    var context = base
    context.networkType = random.pick([("wifi", 55), ("5g", 33), ("4g", 12)])
    context.appVersion = random.pick([("2.4.0", 80), ("2.3.1", 20)])
    if shareID.isEmpty {
      context.scene = random.pick([
        (1001, 24), (1005, 12), (1089, 30), (1011, 9), (1037, 8), (1058, 7), (1154, 5),
      ])
      if random.happens(0.2) {
        context.campaignSource = random.pick([("moments", 5), ("official_account", 3), ("sms", 2)])
        context.campaignName = "spring_sale"
      }
    } else {
      context.scene = random.happens(0.7) ? 1007 : 1008
      context.shareID = shareID
    }
    return context
  }
}
