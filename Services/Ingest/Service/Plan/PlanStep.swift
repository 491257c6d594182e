import Events

/// The step `plan`: asks the app's plan about the events of a batch, with one lock, and allocates nothing per event.
enum PlanStep {
  /// Finds the shape of each event, and in a strict plan sets aside what no published definition names: but for events in
  /// test by their own test users.
  ///
  /// - Returns: whether the batch is one of a test user, so that what becomes of it is shown.
  static func run(
    _ pass: inout BatchPass, _ reader: BatchReader, _ message: UnsafeRawBufferPointer,
    _ tracking: AppTracking
  ) -> Bool {
    tracking.withCurrent { current in
      let snapshot = current.snapshot
      let isOfTestUser = isOfTestUser(reader, message, snapshot, tracking.hash)
      let fields = reader.allFields
      pass.register { event, known in
        let name = event.name.bytes(in: message)
        let shape = known ?? current.seen.shape(name, fields.of(event), in: message)
        guard snapshot.isStrict else { return (shape, .keep) }
        switch current.seen.standing(shape) {
        case .registered: return (shape, .keep)
        case .test:
          guard isOfTestUser else { break }
          let text = String(decoding: name, as: UTF8.self)
          let user = tracking.hash.user(reader.context.text(.openID).bytes(in: message))
          if snapshot.entries[text]?.testUsers.contains(user) == true { return (shape, .keep) }
        case .unregistered: break
        }
        return (shape, .quarantine(.unregistered, .unregistered(name)))
      }
      return isOfTestUser
    }
  }

  private static func isOfTestUser(
    _ reader: BatchReader, _ message: UnsafeRawBufferPointer, _ snapshot: PlanSnapshot,
    _ hash: KeyedHash
  ) -> Bool {
    guard !snapshot.testUsers.isEmpty else { return false }
    return snapshot.testUsers.contains(
      hash.user(reader.context.text(.openID).bytes(in: message)))
  }
}

extension EventProblem.Text {
  static func unregistered(_ name: UnsafeRawBufferPointer) -> Self {
    let name = String(decoding: name, as: UTF8.self)
    return Self(
      field: "name",
      message:
        "name: no published event of the app's plan, which is strict, is called \"\(name)\"; kept aside"
    )
  }
}
