/// What decides whether an event counts, in one byte per event.
struct RowFlags: RawRepresentable, Equatable, Sendable {
  let rawValue: UInt8

  init(rawValue: UInt8) { self.rawValue = rawValue }

  init(isPassive: Bool, traffic: TrafficClass) {
    rawValue = (isPassive ? 1 : 0) | traffic.rawValue << 1
  }

  /// The bit of `TrafficClass.isExcludedScene`.
  static let excludedScene: UInt8 = 1 << 1

  /// Sent by a server: does not make the user active.
  var isPassive: Bool { rawValue & 1 != 0 }
  var traffic: TrafficClass { TrafficClass(rawValue: rawValue >> 1 & 7) }
}

/// Release channel and whether the scene is left out by default: reports count some classes and leave out the others
/// (SEMANTICS 1, "Excluded by default").
struct TrafficClass: RawRepresentable, Hashable, Sendable {
  static let count = 6

  let rawValue: UInt8

  init(rawValue: UInt8) { self.rawValue = rawValue }

  /// - Parameter channel: 1 release, 2 trial, 3 develop.
  init(channel: UInt8, isExcludedScene: Bool) {
    precondition((1...3).contains(channel))
    rawValue = (channel - 1) * 2 + (isExcludedScene ? 1 : 0)
  }

  var channel: UInt8 { rawValue / 2 + 1 }
  var isExcludedScene: Bool { rawValue & 1 != 0 }
}
