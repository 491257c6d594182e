import Events
import Synchronization

/// What an app has sent, counted by shape: an event's name and the set of its fields. One number per event, from which the
/// counts of names and of fields follow. Also knows where each name stands in the plan, so that one search per event answers
/// both.
///
/// Bounded: names beyond `Limits.Plan.seenNamesMax` are counted together, combinations of fields beyond `seenShapesMax` under
/// their name only.
struct SeenShapes: Sendable {
  struct Shape: Sendable {
    /// In `names`.
    let name: UInt32
    /// Sorted names; nil: fields were not looked at, because there are too many combinations.
    let fields: [String]?
    var accepted: UInt64 = 0
    var quarantined: UInt64 = 0
    /// Receipt, ms since 1970. 0: never.
    var firstSeen: Int64 = 0
    var lastSeen: Int64 = 0
    /// Of the transaction that runs.
    var pendingAccepted: UInt32 = 0
    var pendingQuarantined: UInt32 = 0
    var isUnsaved = false

    mutating func note(_ received: Int64) {
      firstSeen = firstSeen == 0 ? received : min(firstSeen, received)
      lastSeen = max(lastSeen, received)
    }
  }

  /// The shape of names that are not listed.
  static let other: UInt32 = 0

  private let hash: KeyedHash
  private let budget: SeenBudget
  private var index = ShapeIndex()
  private(set) var shapes: [Shape] = [Shape(name: 0, fields: nil)]
  /// The first one stands for all that are not listed.
  private(set) var names: [String] = [""]
  private var standings: [PlanSnapshot.Standing] = [.unregistered]
  private var numbers: [String: UInt32] = [:]
  /// Names that are neither the plan's nor ours.
  private var unregisteredNames = 0
  /// Shapes beside those of names only.
  private var combinations = 0
  private var unsaved: [UInt32] = []
  /// Shapes that the transaction which runs counts.
  private var pending: [UInt32] = []
  private var pendingReceived: Int64 = 0

  init(hash: KeyedHash, budget: SeenBudget) {
    self.hash = hash
    self.budget = budget
  }

  // MARK: The hot path

  /// The number of an event's shape. Allocates only where the shape is new. Cost: about 10 ns and 10 ns a field.
  ///
  /// - Parameter name: obeys the rule of names.
  mutating func shape(
    _ name: UnsafeRawBufferPointer, _ fields: UnsafeBufferPointer<BatchField>,
    in message: UnsafeRawBufferPointer
  ) -> UInt32 {
    let nameKey = hash.user(name)
    var key = nameKey
    // The order of fields does not matter.
    for field in fields { key &+= Self.spread(hash.user(field.name.bytes(in: message))) }
    if let known = index[key] { return known }
    if isFull, let known = index[Self.nameOnly(nameKey)] { return known }
    if isFull, unregisteredNames >= Limits.Plan.seenNamesMax { return Self.other }
    let text = String(decoding: name, as: UTF8.self)
    return add(text, fields.map { $0.name.text(in: message) })
  }

  func standing(_ shape: UInt32) -> PlanSnapshot.Standing {
    standings[Int(shapes[Int(shape)].name)]
  }

  // MARK: Counting, by the writer

  /// An event of the shape is in the log once the transaction that runs is on disk.
  mutating func countAccepted(_ shape: UInt32, received: Int64) {
    notePending(shape, received)
    shapes[Int(shape)].pendingAccepted &+= 1
  }

  /// The same of one that is kept aside because its name is not registered.
  mutating func countQuarantined(_ shape: UInt32, received: Int64) {
    notePending(shape, received)
    shapes[Int(shape)].pendingQuarantined &+= 1
  }

  private mutating func notePending(_ shape: UInt32, _ received: Int64) {
    pendingReceived = received
    let known = shapes[Int(shape)]
    if known.pendingAccepted == 0, known.pendingQuarantined == 0 { pending.append(shape) }
  }

  /// What the transaction keeps aside, and when it came, ms since 1970.
  var pendingQuarantined: (shapes: [(name: String, shape: Shape)], received: Int64) {
    let found = pending.filter { shapes[Int($0)].pendingQuarantined > 0 }
    return (found.map { (names[Int(shapes[Int($0)].name)], shapes[Int($0)]) }, pendingReceived)
  }

  /// The transaction is on disk.
  mutating func commit() {
    for number in pending {
      let index = Int(number)
      shapes[index].accepted &+= UInt64(shapes[index].pendingAccepted)
      shapes[index].quarantined &+= UInt64(shapes[index].pendingQuarantined)
      shapes[index].note(pendingReceived)
      markUnsaved(number)
    }
    rollBack()
  }

  /// The transaction was taken back.
  mutating func rollBack() {
    for number in pending {
      shapes[Int(number)].pendingAccepted = 0
      shapes[Int(number)].pendingQuarantined = 0
    }
    pending.removeAll(keepingCapacity: true)
  }

  private mutating func markUnsaved(_ shape: UInt32) {
    if shapes[Int(shape)].isUnsaved { return }
    shapes[Int(shape)].isUnsaved = true
    unsaved.append(shape)
  }

  // MARK: Adding

  private var isFull: Bool { combinations >= Limits.Plan.seenShapesMax || budget.isUsedUp }

  private static func spread(_ hash: UInt64) -> UInt64 {
    let product = hash.multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
    return product.high ^ product.low
  }

  private static func nameOnly(_ key: UInt64) -> UInt64 { key ^ 0x6A09_E667_F3BC_C909 }

  private func key(_ text: String) -> UInt64 { hash.user(text) }

  /// The shape of a name and its fields, made where there is room, else what it is counted under.
  private mutating func add(_ name: String, _ fields: [String]?) -> UInt32 {
    guard let number = number(name, isForced: false) else { return Self.other }
    let nameKey = key(name)
    let only = index[Self.nameOnly(nameKey)] ?? Self.other
    guard let fields else { return only }
    let shapeKey = fields.reduce(nameKey) { $0 &+ Self.spread(key($1)) }
    if let known = index[shapeKey] { return known }
    guard !isFull, budget.take() else { return only }
    combinations += 1
    return insert(Shape(name: number, fields: fields.sorted()), shapeKey)
  }

  /// - Parameter isForced: a name of the plan is always listed: the plan's own bound holds.
  private mutating func number(_ name: String, isForced: Bool) -> UInt32? {
    if let known = numbers[name] { return known }
    guard isForced || unregisteredNames < Limits.Plan.seenNamesMax else { return nil }
    if !isForced { unregisteredNames += 1 }
    let number = UInt32(names.count)
    names.append(name)
    standings.append(.unregistered)
    numbers[name] = number
    _ = insert(Shape(name: number, fields: nil), Self.nameOnly(key(name)))
    return number
  }

  private mutating func insert(_ shape: Shape, _ key: UInt64) -> UInt32 {
    let number = UInt32(shapes.count)
    shapes.append(shape)
    index.insert(key, number)
    return number
  }

  // MARK: The plan

  /// Where the names stand from now on.
  mutating func apply(_ snapshot: PlanSnapshot) {
    for name in snapshot.entries.keys { _ = number(name, isForced: true) }
    for (number, name) in names.enumerated() {
      standings[number] = snapshot.entries[name]?.standing ?? .unregistered
    }
    for name in BuiltInEvent.allCases.map(\.name) {
      guard let number = number(name, isForced: true) else { continue }
      standings[Int(number)] = .registered
    }
  }

  // MARK: Saving

  var hasUnsaved: Bool { !unsaved.isEmpty }

  /// What changed since it was last written down.
  var unsavedShapes: [(name: String, shape: Shape)] {
    unsaved.map { (names[Int(shapes[Int($0)].name)], shapes[Int($0)]) }
  }

  /// `unsavedShapes` are on disk.
  mutating func confirmSaved() {
    for number in unsaved { shapes[Int(number)].isUnsaved = false }
    unsaved.removeAll(keepingCapacity: true)
  }

  /// From the store, before anything is counted.
  mutating func restore(
    _ name: String, _ fields: [String]?, _ counts: (UInt64, UInt64), _ seen: (Int64, Int64)
  ) {
    let number = name.isEmpty ? Self.other : add(name, fields)
    shapes[Int(number)].accepted += counts.0
    shapes[Int(number)].quarantined += counts.1
    if seen.0 > 0 { shapes[Int(number)].note(seen.0) }
    if seen.1 > 0 { shapes[Int(number)].note(seen.1) }
  }
}

/// Shapes that all apps of the process may still take.
final class SeenBudget: Sendable {
  private let left: Atomic<Int>

  init(_ count: Int = Limits.Plan.seenShapesOfAllMax) { left = Atomic(count) }

  var isUsedUp: Bool { left.load(ordering: .relaxed) <= 0 }

  func take() -> Bool {
    if left.wrappingSubtract(1, ordering: .relaxed).oldValue > 0 { return true }
    left.wrappingAdd(1, ordering: .relaxed)
    return false
  }
}

/// Numbers by keyed hashes, by open addressing: the hashes are random already.
struct ShapeIndex: Sendable {
  private var keys: [UInt64]
  /// One more than the number; 0: the slot is free.
  private var values: [UInt32]
  private var count = 0

  init() {
    keys = Array(repeating: 0, count: 64)
    values = Array(repeating: 0, count: 64)
  }

  subscript(key: UInt64) -> UInt32? {
    let slot = slot(key)
    return values[slot] == 0 ? nil : values[slot] - 1
  }

  mutating func insert(_ key: UInt64, _ number: UInt32) {
    if (count + 1) * 2 > keys.count { grow() }
    let slot = slot(key)
    if values[slot] == 0 { count += 1 }
    keys[slot] = key
    values[slot] = number + 1
  }

  /// Where the key is, or would be. At most half of the slots are taken, so there is an end.
  private func slot(_ key: UInt64) -> Int {
    let mask = keys.count &- 1
    var slot = Int(truncatingIfNeeded: key) & mask
    while values[slot] != 0, keys[slot] != key { slot = (slot &+ 1) & mask }
    return slot
  }

  private mutating func grow() {
    let (oldKeys, oldValues) = (keys, values)
    keys = Array(repeating: 0, count: oldKeys.count * 2)
    values = Array(repeating: 0, count: oldKeys.count * 2)
    for (slot, value) in oldValues.enumerated() where value != 0 {
      let place = self.slot(oldKeys[slot])
      (keys[place], values[place]) = (oldKeys[slot], value)
    }
  }
}
