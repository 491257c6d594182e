/// One row of a portrait's table.
package struct PortraitGroup: Sendable, Equatable {
  /// Empty: unknown.
  package var name: String
  package var users: UInt64
  package var isSuppressed: Bool

  package init(name: String, users: UInt64, isSuppressed: Bool = false) {
    self.name = name
    self.users = users
    self.isSuppressed = isSuppressed
  }
}

/// Hides groups so small that they would tell of persons.
package enum Suppression {
  /// Merges every group below `minUsers` into one `suppressed` row.
  ///
  /// The total is known, so one hidden group alone could be had by subtraction, and a hidden sum below `minUsers` would
  /// tell of few persons itself: the next smallest groups are hidden too, until at least two are and together they have
  /// `minUsers`, or all are. The rows shown are in descending order, equal ones by name; `suppressed` comes last.
  ///
  /// - Parameter minUsers: 1 hides nothing.
  package static func apply(_ groups: [PortraitGroup], minUsers: UInt64) -> [PortraitGroup] {
    var shown = groups.filter { $0.users > 0 }
    shown.sort { $0.users != $1.users ? $0.users > $1.users : $0.name < $1.name }
    var hidden = PortraitGroup(name: "", users: 0, isSuppressed: true)
    var hiddenGroups = 0
    while let smallest = shown.last {
      let mustHide =
        smallest.users < minUsers
        || hiddenGroups > 0 && (hiddenGroups < 2 || hidden.users < minUsers)
      guard mustHide else { break }
      shown.removeLast()
      hidden.users += smallest.users
      hiddenGroups += 1
    }
    return hiddenGroups == 0 ? shown : shown + [hidden]
  }
}
