import Events
import Messages
import SwiftProtobuf

/// What became of one event of a batch.
struct ObservedOutcome: Sendable {
  /// `accepted duplicate rejected quarantined`.
  let word: String
  var reason = ""
  var message = ""
}

/// Holds what a test user sent against the definitions.
enum TestObserver {
  /// Shows a batch that is on disk to those who watch the tests of its app.
  static func show(_ batch: PreparedBatch, _ fates: [Fate], _ problems: [EventProblem]) {
    let texts = Dictionary(uniqueKeysWithValues: problems.map { ($0.index, $0.text.message) })
    let tracking = batch.app.tracking
    tracking.feed.publish(
      observations(
        of: batch.message, received: batch.clock.receivedMilliseconds, tracking.snapshot,
        tracking.hash
      ) { index in
        guard index < fates.count else { return nil }
        let fate = fates[index]
        let word = fate.isQuarantined ? "quarantined" : fate.outcome.rawValue
        return ObservedOutcome(
          word: word, reason: fate.reason?.word ?? "", message: texts[index] ?? "")
      })
  }

  /// - Parameters:
  ///   - message: an encoded `CollectRequest` that was answered.
  ///   - outcome: of an event by its index; nil: nothing is known of it.
  static func observations(
    of message: [UInt8], received: Int64, _ snapshot: PlanSnapshot, _ hash: KeyedHash,
    outcome: (Int) -> ObservedOutcome?
  ) -> [ProtoTestObservation] {
    // What the reader has read the generated decoder reads too, but for text that is not UTF-8: then nothing is shown.
    guard let request = try? ProtoCollectRequest(serializedBytes: message) else { return [] }
    let user = hash.user(request.context.openID)
    return request.events.prefix(Limits.Plan.observationsPerBatchMax).enumerated().compactMap {
      index, event in
      guard let outcome = outcome(index) else { return nil }
      var observation = ProtoTestObservation()
      observation.receivedMs = received
      observation.openID = request.context.openID
      observation.name = shortened(event.name)
      observation.timeMs = event.timeMs
      observation.pagePath = shortened(event.pagePath)
      // Of who has not agreed nothing is shown but that it was refused.
      if outcome.reason != EventReason.noConsent.word {
        observation.fields = event.fields.prefix(EventLimits.fieldsPerEventMax).map(field)
      }
      observation.outcome = outcome.word
      observation.reason = outcome.reason
      observation.message = outcome.message
      if let entry = snapshot.entries[event.name] {
        observation.inTest = entry.testUsers.contains(user)
        observation.problems = problems(of: event, entry.definition)
        let isTaken = outcome.word == "accepted" || outcome.word == "duplicate"
        observation.matched = isTaken && observation.problems.isEmpty
      }
      return observation
    }
  }

  private static func field(_ field: ProtoField) -> ProtoTestField {
    var shown = ProtoTestField()
    shown.name = shortened(field.name)
    switch field.value.kind {
    case .stringValue(let text): (shown.type, shown.value) = (.string, shortened(text))
    case .integerValue(let number): (shown.type, shown.value) = (.integer, "\(number)")
    case .doubleValue(let number): (shown.type, shown.value) = (.double, "\(number)")
    case .booleanValue(let flag): (shown.type, shown.value) = (.boolean, "\(flag)")
    case nil: break
    }
    return shown
  }

  private static func shortened(_ text: String) -> String {
    guard text.utf8.count > Limits.Plan.observedTextBytesMax else { return text }
    return String(decoding: text.utf8.prefix(Limits.Plan.observedTextBytesMax), as: UTF8.self)
  }

  /// In which ways the event is not what its definition says.
  private static func problems(
    of event: ProtoEvent, _ definition: ProtoEventDefinition
  ) -> [ProtoPlanViolation] {
    var problems: [ProtoPlanViolation] = []
    for declared in definition.fields {
      let path = "fields.\(declared.name)"
      guard let sent = event.fields.first(where: { $0.name == declared.name }) else {
        problems.append(ProtoPlanViolation(path, .missing, "is declared and was not sent"))
        continue
      }
      let type = field(sent).type
      guard type != declared.type else { continue }
      problems.append(
        ProtoPlanViolation(path, .wrongType, "is declared \(declared.type.word); got \(type.word)"))
    }
    for sent in event.fields where !definition.fields.contains(where: { $0.name == sent.name }) {
      let path = "fields.\(shortened(sent.name))"
      problems.append(ProtoPlanViolation(path, .unknownField, "was sent and is not declared"))
    }
    let pages = Set(definition.manual.actions.map(\.pagePath)).subtracting([""])
    if definition.method == .manual, !pages.isEmpty, !pages.contains(event.pagePath),
      !definition.manual.actions.contains(where: \.pagePath.isEmpty)
    {
      problems.append(
        ProtoPlanViolation(
          "page_path", .unknownPage,
          "no action happens on \(DefinitionCheck.quoted(event.pagePath))"))
    }
    return problems
  }
}
