/// The way of a batch, in this order. Up to `lateness` on the event loop (`Collector`), from `deduplicate` on by the writer
/// (`LogAppender`, `LogWriter`). The names are the label `step` of the metrics.
///
/// A step of one more rule has its case here, its reasons in `EventReason`, and one `BatchPass.check` in `Collector.judge`.
enum Step: Int, CaseIterable, Sendable {
  /// Bytes to slices; refuses what is no CollectRequest.
  case decode
  /// Whose app it is, and whether the token may speak for it.
  case authorise
  /// What holds for the batch as a whole: number of events, ids, context.
  case limits
  /// Takes out what the app's rules forbid to store.
  case privacy
  /// What each event must look like: names, sizes, ranges.
  case names
  /// Whether the user's events are taken; once more by the writer, where it has changed since.
  case consent
  /// Each event is named by the app's tracking plan, where that is strict; its shape is found, by which it is counted.
  case plan
  /// Each field of an event has the type that the app's field has.
  case types
  /// The one correction of the device's clock.
  case clock
  case lateness
  case deduplicate
  /// The row of the log, the rows of quarantine, the answer's bytes.
  case append
  /// Commit and fdatasync of the transaction.
  case sync
  case answer

  var name: String { "\(self)" }
}
