import RPC
import ServiceKit
import Synchronization

/// What the steps did, since the start of the process: events by fate, refused batches, time by step.
final class PipelineFigures: Sendable {
  /// One batch in this many is timed, step by step: clocks cost 20 ns each.
  static let timedBatchInterval: UInt64 = 16

  private struct Times {
    var nanoseconds = [Int64](repeating: 0, count: Step.allCases.count)
    var runs = [Int64](repeating: 0, count: Step.allCases.count)
  }

  private let times = Mutex(Times())
  private let tally = Mutex(FateTally())
  private let refusals = Mutex([Int](repeating: 0, count: Step.allCases.count))

  /// Adds what one run of a step took.
  func add(_ step: Step, nanoseconds: Int64) {
    times.withLock { times in
      times.nanoseconds[step.rawValue] &+= nanoseconds
      times.runs[step.rawValue] &+= 1
    }
  }

  /// Adds the events of a transaction that is on disk.
  func add(_ tally: FateTally) { self.tally.withLock { $0.add(tally) } }

  /// A batch was refused as a whole.
  func refuse(_ step: Step) { refusals.withLock { $0[step.rawValue] += 1 } }

  func events(_ fate: Fate) -> Int { tally.withLock { $0[fate] } }
  func refusedBatches(_ step: Step) -> Int { refusals.withLock { $0[step.rawValue] } }

  func time(_ step: Step) -> (seconds: Double, runs: Int) {
    times.withLock { times in
      (Double(times.nanoseconds[step.rawValue]) / 1e9, Int(times.runs[step.rawValue]))
    }
  }
}

/// Times the steps of one batch, one after another.
struct StepClock {
  private let figures: PipelineFigures
  /// nil: this batch is not timed.
  private var last: Int64?

  init(_ figures: PipelineFigures, isTimed: Bool) {
    self.figures = figures
    last = isTimed ? MonotonicClock.now : nil
  }

  var isTimed: Bool { last != nil }

  /// What ran since the last call is no step, or times itself.
  mutating func restart() { if isTimed { last = MonotonicClock.now } }

  /// The step that ran since the last call is over.
  @inline(__always)
  mutating func lap(_ step: Step) {
    guard let last else { return }
    let now = MonotonicClock.now
    figures.add(step, nanoseconds: now - last)
    self.last = now
  }
}

extension PipelineFigures {
  /// Every fate that an event can have: the bounded set of lines on the metrics port.
  static let fates: [Fate] =
    [.accepted, .duplicate]
    + EventReason.allCases.filter(\.rejects).map(Fate.rejected)
    // Any of them after a replay that did not help.
    + EventReason.allCases.map(Fate.quarantined)

  /// Lists the figures on the metrics port.
  func register(in metrics: MetricsRegistry) {
    for step in Step.allCases {
      metrics.summary(
        "footfall_ingest_step_seconds",
        help: """
          Time of a batch in a step, of one batch in \(Self.timedBatchInterval); in sync and answer that of each \
          transaction.
          """,
        labels: [("step", step.name)]
      ) { [self] in
        let (seconds, runs) = time(step)
        return (sum: seconds, count: Double(runs))
      }
    }
    for fate in Self.fates {
      metrics.counter(
        "footfall_ingest_events_total", help: "Events whose fate is on disk and told, by what became of them.",
        labels: [
          ("step", fate.step.name), ("outcome", fate.outcome.rawValue),
          ("reason", fate.reason?.word ?? ""),
        ]
      ) { [self] in Double(events(fate)) }
    }
    for step in [Step.decode, .authorise, .limits, .append] {
      metrics.counter(
        "footfall_ingest_batches_refused_total",
        help: "Batches refused as a whole; in append: because the writer's queue was full or the log closed.",
        labels: [("step", step.name)]
      ) { [self] in Double(refusedBatches(step)) }
    }
  }
}

extension EventReason {
  /// Whether an event can be rejected for it.
  var rejects: Bool {
    switch self {
    case .late, .conflict, .belowWindow, .unregistered: false
    default: true
    }
  }
}
