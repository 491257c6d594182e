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

  /// Runs a step over the events that no step has refused.
  @inline(__always)
  mutating func check(_ judge: (BatchEvent) -> Verdict) {
    for index in events.indices where events[index].fate == .accepted {
      switch judge(source[index]) {
      case .keep: continue
      case .reject(let reason, let text): settle(index, .rejected(reason), text)
      case .quarantine(let reason, let text): settle(index, .quarantined(reason), text)
      }
    }
  }

  /// The same, where the step also finds by which shape an event is counted (`SeenShapes`).
  @inline(__always)
  mutating func register(_ judge: (BatchEvent) -> (shape: UInt32, verdict: Verdict)) {
    for index in events.indices where events[index].fate == .accepted {
      let (shape, verdict) = judge(source[index])
      events[index].shape = shape
      switch verdict {
      case .keep: continue
      case .reject(let reason, let text): settle(index, .rejected(reason), text)
      case .quarantine(let reason, let text): settle(index, .quarantined(reason), text)
      }
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
