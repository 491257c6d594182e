import Messages

/// One open of an invented shop: its events in order, with times relative to its begin.
struct DemoVisit {
  let context: ProtoContext
  let events: [ProtoEvent]
  /// Ids under which this visit was shared.
  let shares: [String]

  private struct Page {
    let path: String
    let medianStay: Double
    let next: [(value: String?, weight: Double)]
  }

  private static let pages: [String: Page] = [
    "home": Page(
      path: "pages/index/index", medianStay: 7_000,
      next: [("list", 45), ("search", 20), ("detail", 20), (nil, 15)]),
    "list": Page(
      path: "pages/category/list", medianStay: 12_000,
      next: [("detail", 60), ("list", 15), ("home", 8), (nil, 17)]),
    "search": Page(
      path: "pages/search/result", medianStay: 9_000,
      next: [("detail", 55), ("search", 20), (nil, 25)]),
    "detail": Page(
      path: "pages/product/detail", medianStay: 22_000,
      next: [("cart", 24), ("list", 25), ("detail", 20), ("home", 6), (nil, 25)]),
    "cart": Page(
      path: "pages/cart/cart", medianStay: 11_000,
      next: [("confirm", 48), ("list", 17), ("detail", 10), (nil, 25)]),
    "confirm": Page(
      path: "pages/order/confirm", medianStay: 26_000,
      next: [("success", 62), ("cart", 10), (nil, 28)]),
    "success": Page(
      path: "pages/order/success", medianStay: 5_000, next: [("home", 30), (nil, 70)]),
  ]

  private static let pagesMax = 25

  /// - Parameters:
  ///   - name: prefix of the ids of orders and shares.
  ///   - shareID: the share by which the person came, or empty.
  init(person: DemoPerson, name: String, shareID: String, random: inout SeededRandom) {
    context = person.context(random: &random, shareID: shareID)
    var script = Script(name: name)
    script.add("$launch", page: "")
    var next: String? = shareID.isEmpty ? "home" : "detail"
    var count = 0
    while let key = next, let page = Self.pages[key], count < Self.pagesMax {
      script.visit(page.path, key: key, stay: random.stay(median: page.medianStay), &random)
      next = random.pick(page.next)
      count += 1
    }
    script.add("$background", page: "")
    events = script.events
    shares = script.shares
  }

  /// Writes events one behind the other.
  private struct Script {
    let name: String
    var events: [ProtoEvent] = []
    var shares: [String] = []
    private var time: Int64 = 0
    private var product = ("", 0.0)

    init(name: String) { self.name = name }

    mutating func add(_ event: String, page: String, _ fields: [(String, ProtoFieldValue)] = []) {
      var next = ProtoEvent()
      next.name = event
      next.timeMs = time
      next.pagePath = page
      next.fields = fields.map { name, value in
        var field = ProtoField()
        field.name = name
        field.value = value
        return field
      }
      events.append(next)
      time += 40
    }

    mutating func visit(_ page: String, key: String, stay: Int64, _ random: inout SeededRandom) {
      if key == "detail" {
        let number = Int.random(in: 1...60, using: &random)
        product = ("sku_\(number)", Double(number * 7 % 90 + 9) + 0.9)
      }
      add("$page_view", page: page, key == "detail" ? [("product", .text(product.0))] : [])
      let begin = time
      time += stay / 2
      act(page, key, &random)
      time = max(time, begin + stay)
      add("$page_leave", page: page, [("stay_ms", .integer(time - begin))])
    }

    private mutating func act(_ page: String, _ key: String, _ random: inout SeededRandom) {
      switch key {
      case "search":
        let results = Int64.random(in: 0...40, using: &random)
        let word = random.pick([("茶", 3), ("耳机", 4), ("T恤", 3), ("书包", 2)])
        add("search", page: page, [("keyword", .text(word)), ("results", .integer(results))])
      case "detail":
        if random.happens(0.12) {
          let share = "\(name)-s\(shares.count)"
          shares.append(share)
          add("$share", page: page, [("share_id", .text(share)), ("product", .text(product.0))])
        }
      case "cart" where !product.0.isEmpty:
        add(
          "add_to_cart", page: page,
          [("product", .text(product.0)), ("price", .double(product.1))])
      case "success":
        add(
          "purchase", page: page,
          [("order_id", .text("\(name)-o\(events.count)")), ("amount", .double(product.1))])
      default: break
      }
    }
  }
}

extension ProtoFieldValue {
  static func text(_ text: String) -> ProtoFieldValue {
    var value = ProtoFieldValue()
    value.stringValue = text
    return value
  }

  static func integer(_ integer: Int64) -> ProtoFieldValue {
    var value = ProtoFieldValue()
    value.integerValue = integer
    return value
  }

  static func double(_ double: Double) -> ProtoFieldValue {
    var value = ProtoFieldValue()
    value.doubleValue = double
    return value
  }
}
