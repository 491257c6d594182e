import Events

/// What a step says about one event.
enum Verdict {
  case keep
  case reject(EventReason, EventProblem.Text)
  case quarantine(EventReason, EventProblem.Text)
}

/// Why one event of a batch is not in the log, for the answer and for quarantine. There is none for most events.
struct EventProblem: Sendable {
  struct Text: Sendable {
    /// As the sender knows it: `name`, `fields.price`.
    let field: String
    /// A sentence that names the limit and the value.
    let message: String
  }

  /// Position in the batch.
  let index: Int
  let fate: Fate
  let text: Text
  /// The row in quarantine; 0: there is none.
  var quarantineID: Int64 = 0
}

/// The events of a batch while one step after another goes over those that are left.
struct BatchPass {
  private let source: UnsafeBufferPointer<BatchEvent>
  private(set) var events: [PreparedEvent]
  private(set) var problems: [EventProblem] = []

  /// - Parameter source: must stay where it is while steps run.
  init(_ source: UnsafeBufferPointer<BatchEvent>) {
    self.source = source
    events = source.map { PreparedEvent(encoded: $0.encoded, name: $0.name, sequence: $0.sequence) }
  }

  /// Finds the events whose shape is known, before the first step.
  @inline(__always)
  mutating func recognise(_ shape: (BatchEvent) -> UInt32?) {
    for index in events.indices {
      guard let shape = shape(source[index]) else { continue }
      events[index].shape = shape
      events[index].hasKnownShape = true
    }
  }

  /// Runs over the events that no step has refused and whose shape was not known.
  @inline(__always)
  func forNewShapes(_ body: (BatchEvent, _ shape: UInt32) -> Void) {
    for index in events.indices where events[index].fate == .accepted && !events[index].hasKnownShape {
      body(source[index], events[index].shape)
    }
  }

  /// Runs a step over the events that no step has refused.
  @inline(__always)
  mutating func check(_ judge: (BatchEvent) -> Verdict) { checkByShape { event, _ in judge(event) } }

  /// The same, where the step has less to ask of an event whose shape is known.
  @inline(__always)
  mutating func checkByShape(_ judge: (BatchEvent, _ hasKnownShape: Bool) -> Verdict) {
    for index in events.indices where events[index].fate == .accepted {
      take(judge(source[index], events[index].hasKnownShape), index)
    }
  }

  @inline(__always)
  private mutating func take(_ verdict: Verdict, _ index: Int) {
    switch verdict {
    case .keep: return
    case .reject(let reason, let text): settle(index, .rejected(reason), text)
    case .quarantine(let reason, let text): settle(index, .quarantined(reason), text)
    }
  }

  /// The same, where the step also finds by which shape an event is counted (`SeenShapes`).
  @inline(__always)
  mutating func register(
    _ judge: (BatchEvent, _ knownShape: UInt32?) -> (shape: UInt32, verdict: Verdict)
  ) {
    for index in events.indices where events[index].fate == .accepted {
      let known = events[index].hasKnownShape ? events[index].shape : nil
      let (shape, verdict) = judge(source[index], known)
      events[index].shape = shape
      take(verdict, index)
    }
  }

  private mutating func settle(_ index: Int, _ fate: Fate, _ text: EventProblem.Text) {
    events[index].fate = fate
    problems.append(EventProblem(index: index, fate: fate, text: text))
  }

  /// Gives every event that deduplication looks at its hashes.
  @inline(__always)
  mutating func identify(_ hashes: (Int, BatchEvent) -> (id: Hash128, content: UInt64)) {
    for index in events.indices where events[index].fate.isDeduplicated {
      (events[index].id, events[index].content) = hashes(index, source[index])
    }
  }

  /// Once all steps have run: problems in the order of the batch.
  mutating func sortProblems() {
    if problems.count > 1 { problems.sort { $0.index < $1.index } }
  }
}
