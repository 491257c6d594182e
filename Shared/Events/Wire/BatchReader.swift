/// Decodes an encoded `CollectRequest` in place: no object is made, every text is a slice of the message. One reader is
/// used again and again, by one thread at a time.
///
/// The result means what SwiftProtobuf's decoder would give: the last of a repeated singular field wins, nested messages
/// that come twice are merged, unknown fields are passed over, a wire type other than the declared one is an unknown
/// field. Two differences, on purpose: text that is not UTF-8 does not fail the whole message but is reported by the rules
/// (`BatchRules`), so that one bad event does not cost the others; and of more than `EventLimits.eventsPerBatchMax` events
/// only the count is kept.
///
/// Cost: about 120 ns per event of three fields, measured on a busy machine (`BatchReaderCostTests`).
package final class BatchReader {
  private var arena = BatchArena()
  private var head = Head()

  /// What is read of the request itself.
  struct Head {
    var appID = ByteSlice.empty
    var deviceID = ByteSlice.empty
    var sentMilliseconds: Int64 = 0
    var batch: UInt64 = 0
    var eventCount = 0
    var isImport = false
    var appIDIsBad = false
    var deviceIDIsBad = false
  }

  package init() {}

  /// Decodes a message. What an earlier one left is gone, whether this succeeds or not.
  ///
  /// - Parameter message: must stay where it is while slices of it are used.
  package func read(_ message: UnsafeRawBufferPointer) throws(WireError) {
    arena.removeAll()
    head = Head()
    _ = arena.addContext()
    guard message.count <= EventLimits.requestBytesMax else {
      throw WireError(reason: .tooLong, offset: message.count)
    }
    guard let start = message.baseAddress, message.count > 0 else { return }
    var cursor = WireCursor(position: start, end: start + message.count, origin: start)
    try RequestDecoder.decode(&cursor, into: &arena, head: &head)
  }

  // MARK: - The request

  /// Empty: the token's own.
  package var appID: ByteSlice { head.appID }
  package var deviceID: ByteSlice { head.deviceID }
  /// The device's clock when it sent the batch, ms since 1970. 0: not known.
  package var sentMilliseconds: Int64 { head.sentMilliseconds }
  package var isImport: Bool { head.isImport }
  package var batch: UInt64 { head.batch }
  /// Events in the message, more perhaps than `events` holds.
  package var eventCount: Int { head.eventCount }

  var appIDIsBad: Bool { head.appIDIsBad }
  var deviceIDIsBad: Bool { head.deviceIDIsBad }

  /// Whether any text of the message is not UTF-8: the generated decoder would refuse the whole of it. Of events and contexts
  /// the rules say which. Cost: linear in the number of events.
  package var hasBadText: Bool {
    if head.appIDIsBad || head.deviceIDIsBad { return true }
    if events.contains(where: { $0.badText != .none }) { return true }
    let contexts = arena.contextWords.count / BatchContext.wordCount
    return (0..<contexts).contains { arena.words($0)[BatchContext.badTextWord] != 0 }
  }

  // MARK: - Events

  /// The first `EventLimits.eventsPerBatchMax` events, in the order of the message. Valid until the next `read`.
  package var events: UnsafeBufferPointer<BatchEvent> {
    UnsafeBufferPointer(start: arena.events.base, count: arena.events.count)
  }

  /// The first `EventLimits.fieldsPerEventMax` fields of an event, in the order of the message.
  package func fields(of event: BatchEvent) -> UnsafeBufferPointer<BatchField> {
    allFields.of(event)
  }

  /// The same for who asks of one event after another. Valid until the next `read`.
  package var allFields: FieldsOfBatch {
    FieldsOfBatch(
      all: UnsafeBufferPointer(start: arena.fields.base, count: arena.fields.count))
  }

  // MARK: - Context

  /// What the request says of all its events.
  package var context: BatchContext { BatchContext(words: arena.words(0)) }

  /// What is true of one event.
  package func context(of event: BatchEvent) -> EventContext {
    guard event.hasOwnContext else { return EventContext(batch: context, own: nil) }
    let own = BatchContext(words: arena.words(Int(event.ownContext)))
    return EventContext(batch: context, own: own)
  }

  /// At most `EventLimits.experimentsMax`, one more where the message had more.
  package func experiments(of context: BatchContext) -> UnsafeBufferPointer<BatchExperiment> {
    let run = ByteSlice(word: context.words[BatchContext.experimentsWord])
    return UnsafeBufferPointer(
      start: arena.experiments.base + Int(run.offset), count: Int(run.length))
  }

  /// An event's own experiments where it sets any, else its batch's.
  package func experiments(of context: EventContext) -> UnsafeBufferPointer<BatchExperiment> {
    if let own = context.own, case let found = experiments(of: own), !found.isEmpty { return found }
    return experiments(of: context.batch)
  }
}

/// The fields of all events of a message.
package struct FieldsOfBatch {
  let all: UnsafeBufferPointer<BatchField>

  /// The first `EventLimits.fieldsPerEventMax` fields of an event, in the order of the message.
  package func of(_ event: BatchEvent) -> UnsafeBufferPointer<BatchField> {
    let first = Int(event.firstField)
    let kept = min(Int(event.fieldCount), EventLimits.fieldsPerEventMax)
    precondition(first + kept <= all.count, "an event of another message")
    return UnsafeBufferPointer(rebasing: all[first..<first + kept])
  }
}
