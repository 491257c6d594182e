/// The rules of SEMANTICS 1 over what a `BatchReader` has read. They need no store: the tracking plan, consent, the clock
/// and deduplication come after them.
///
/// Cost where nothing is broken: about 150 ns per event of three fields on a busy machine, no allocation.
package struct BatchRules {
  private let reader: BatchReader
  private let message: UnsafeRawBufferPointer
  /// What each event is asked for, found once.
  private let fields: FieldsOfBatch
  private let hasDevice: Bool

  /// - Parameters:
  ///   - reader: has read `message`.
  package init(_ reader: BatchReader, message: UnsafeRawBufferPointer) {
    self.reader = reader
    self.message = message
    fields = reader.allFields
    hasDevice = !reader.deviceID.isEmpty
  }

  /// What refuses the whole batch: the number of its events, its ids, its context.
  package func violationOfBatch() -> RuleViolation? {
    guard reader.eventCount > 0 else {
      return RuleViolation(
        field: "events", reason: .required, limit: "from 1 to \(EventLimits.eventsPerBatchMax)",
        actual: "0")
    }
    guard reader.eventCount <= EventLimits.eventsPerBatchMax else {
      return RuleViolation(
        field: "events", reason: .tooMany, limit: "at most \(EventLimits.eventsPerBatchMax)",
        actual: "\(reader.eventCount)")
    }
    return violationOfIDs() ?? violation(of: reader.context, prefix: "context")
      ?? (reader.context.text(.openID).isEmpty ? .required("context.open_id") : nil)
  }

  private func violationOfIDs() -> RuleViolation? {
    if reader.appIDIsBad { return .badUTF8("app_id") }
    if reader.deviceIDIsBad { return .badUTF8("device_id") }
    if !reader.appID.isEmpty, !AppID.isValid(bytes(reader.appID)) {
      return .badName("app_id", "must match ^[a-z0-9][a-z0-9_-]{0,63}$", name: bytes(reader.appID))
    }
    if reader.deviceID.length > EventLimits.deviceIDBytesMax {
      return .tooLong(
        "device_id", bytes: reader.deviceID.length, max: EventLimits.deviceIDBytesMax)
    }
    let sent = reader.sentMilliseconds
    if sent < 0 || sent > EventLimits.timeMillisecondsMax {
      return .outOfRange("sent_ms", sent, min: 0, max: EventLimits.timeMillisecondsMax)
    }
    return nil
  }

  /// What rejects one event; the first rule that it breaks, in the order of the message's fields.
  ///
  /// - Parameter namesAreGood: the event has the name, and the fields by name and type in their order, of one that broke no rule.
  package func violation(of event: BatchEvent, namesAreGood: Bool = false) -> RuleViolation? {
    if event.badText != .none { return violationOfText(event) }
    if !namesAreGood, let violation = violationOfName(event) { return violation }
    if event.timeMilliseconds <= 0 || event.timeMilliseconds > EventLimits.timeMillisecondsMax {
      return violationOfTime(event)
    }
    return violationOfPage(event) ?? violationOfIdentity(event)
      ?? violationOfFields(event, namesAreGood: namesAreGood) ?? violationOfOwnContext(event)
  }

  private func bytes(_ slice: ByteSlice) -> UnsafeRawBufferPointer { slice.bytes(in: message) }
}

// MARK: - An event's own members

extension BatchRules {
  private func violationOfText(_ event: BatchEvent) -> RuleViolation? {
    switch event.badText {
    case .none: nil
    case .name: .badUTF8("name")
    case .pagePath: .badUTF8("page_path")
    case .eventID: .badUTF8("event_id")
    case .fieldName: .badUTF8("fields[\(event.badTextField)].name")
    case .fieldValue: .badUTF8(pathOfField(event, Int(event.badTextField)))
    }
  }

  private func violationOfName(_ event: BatchEvent) -> RuleViolation? {
    let name = bytes(event.name)
    if EventName.isValid(name) { return nil }
    if name.isEmpty { return .required("name") }
    if name[0] != ASCII.dollar, name.count > EventLimits.nameBytesMax {
      return .tooLong("name", bytes: event.name.length, max: EventLimits.nameBytesMax)
    }
    return .badName(
      "name", "must match ^[a-z][a-z0-9_]{0,31}$ or be a built-in event", name: name)
  }

  private func violationOfTime(_ event: BatchEvent) -> RuleViolation {
    let time = event.timeMilliseconds
    if time == 0 { return .required("time_ms") }
    return .outOfRange("time_ms", time, min: 1, max: EventLimits.timeMillisecondsMax)
  }

  private func violationOfPage(_ event: BatchEvent) -> RuleViolation? {
    guard event.pagePath.length <= EventLimits.pagePathBytesMax else {
      return .tooLong(
        "page_path", bytes: event.pagePath.length, max: EventLimits.pagePathBytesMax)
    }
    let page = bytes(event.pagePath)
    guard !ASCII.contains(page, ASCII.question) else {
      return .badName("page_path", "a path without its query, which goes into fields", name: page)
    }
    return nil
  }

  /// By what the event is counted once: its device and sequence, else its event_id (SEMANTICS 1).
  private func violationOfIdentity(_ event: BatchEvent) -> RuleViolation? {
    if event.eventID.length > EventLimits.eventIDBytesMax {
      return .tooLong("event_id", bytes: event.eventID.length, max: EventLimits.eventIDBytesMax)
    }
    if event.sequence > UInt64(Int64.max) {
      return .outOfRange("sequence", event.sequence, min: 1, max: UInt64(Int64.max))
    }
    if event.sequence == 0, event.eventID.isEmpty {
      return .required("event_id", because: "where the event has no sequence")
    }
    if event.sequence > 0, !hasDevice {
      return .required("device_id", because: "where events have a sequence")
    }
    return nil
  }
}

// MARK: - Fields

extension BatchRules {
  private func pathOfField(_ event: BatchEvent, _ index: Int) -> String {
    let fields = self.fields.of(event)
    guard index < fields.count else { return "fields[\(index)]" }
    return "fields.\(fields[index].name.text(in: message))"
  }

  private func violationOfFields(_ event: BatchEvent, namesAreGood: Bool) -> RuleViolation? {
    let fields = self.fields.of(event)
    if namesAreGood {
      for field in fields { if let violation = violationOfValue(field) { return violation } }
    } else if let violation = violationOfFields(event, fields) {
      return violation
    }
    return violationOfStay(event, fields)
  }

  private func violationOfFields(
    _ event: BatchEvent, _ fields: UnsafeBufferPointer<BatchField>
  ) -> RuleViolation? {
    guard event.fieldCount <= EventLimits.fieldsPerEventMax else {
      return RuleViolation(
        field: "fields", reason: .tooMany, limit: "at most \(EventLimits.fieldsPerEventMax)",
        actual: "\(event.fieldCount)")
    }
    for index in fields.indices {
      if let violation = violation(of: fields[index], at: index) { return violation }
      for earlier in 0..<index where fields[earlier].name.length == fields[index].name.length {
        let name = bytes(fields[index].name)
        guard ASCII.equal(bytes(fields[earlier].name), name) else { continue }
        return .badName(pathOfField(event, index), "a name occurs once in an event", name: name)
      }
    }
    return nil
  }

  private func violation(of field: BatchField, at index: Int) -> RuleViolation? {
    let name = bytes(field.name)
    guard EventName.isCustomName(name) else {
      if name.isEmpty { return .required("fields[\(index)].name") }
      return .badName("fields[\(index)].name", "must match ^[a-z][a-z0-9_]{0,31}$", name: name)
    }
    return violationOfValue(field)
  }

  @inline(__always)
  private func violationOfValue(_ field: BatchField) -> RuleViolation? {
    switch field.value {
    case .integer, .boolean: return nil
    case .text(let text):
      guard text.length > EventLimits.fieldTextBytesMax else { return nil }
      return .tooLong(path(field), bytes: text.length, max: EventLimits.fieldTextBytesMax)
    case .double(let value):
      guard !value.isFinite else { return nil }
      return RuleViolation(
        field: path(field), reason: .notFinite, limit: "must be finite", actual: "\(value)")
    case .missing: return .required(path(field), because: "a field has a value")
    }
  }

  private func path(_ field: BatchField) -> String { "fields.\(field.name.text(in: message))" }

  /// `$page_leave.stay_ms` (ingest.proto, `Event.fields`).
  private func violationOfStay(
    _ event: BatchEvent, _ fields: UnsafeBufferPointer<BatchField>
  ) -> RuleViolation? {
    guard BuiltInEvent(bytes(event.name)) == .pageLeave else { return nil }
    for field in fields where StayField.isName(bytes(field.name)) {
      guard case .integer(let stay) = field.value else {
        return RuleViolation(
          field: StayField.path, reason: .wrongType, limit: "an integer", actual: "\(field.kind)")
      }
      if stay < 0 || stay > EventLimits.stayMillisecondsMax {
        return .outOfRange(StayField.path, stay, min: 0, max: EventLimits.stayMillisecondsMax)
      }
    }
    return nil
  }
}

// MARK: - Context

extension BatchRules {
  private func violationOfOwnContext(_ event: BatchEvent) -> RuleViolation? {
    guard event.hasOwnContext, let own = reader.context(of: event).own else { return nil }
    if let violation = violation(of: own, prefix: "context") { return violation }
    let openID = own.text(.openID)
    guard !openID.isEmpty, !ASCII.equal(bytes(openID), bytes(reader.context.text(.openID))) else {
      return nil
    }
    return RuleViolation(
      field: "context.open_id", reason: .outOfRange, limit: "the same user as of the batch",
      actual: RuleViolation.quoted(bytes(openID)))
  }

  private func violation(of context: BatchContext, prefix: String) -> RuleViolation? {
    let bad = context.word(BatchContext.badTextWord)
    guard bad == 0 else { return .badUTF8("\(prefix).\(Self.name(ofNumber: bad))") }
    for number in 1..<BatchContext.experimentsWord where context.word(number) != 0 {
      guard let field = ContextField(rawValue: UInt8(number)) else { continue }
      if let violation = violation(of: field, in: context, prefix: prefix) { return violation }
    }
    return violationOfExperiments(context, prefix: prefix)
  }

  private func violation(
    of field: ContextField, in context: BatchContext, prefix: String
  ) -> RuleViolation? {
    switch field.kind {
    case .text:
      let limit = field == .openID ? EventLimits.openIDBytesMax : EventLimits.contextTextBytesMax
      let length = context.text(field).length
      return length <= limit ? nil : .tooLong("\(prefix).\(field.name)", bytes: length, max: limit)
    case .integer:
      let value = context.integer(field)
      let max = Self.integerMax(field)
      guard value < 0 || value > max else { return nil }
      return .outOfRange("\(prefix).\(field.name)", value, min: 0, max: max)
    }
  }

  private static func integerMax(_ field: ContextField) -> Int64 {
    switch field {
    case .age: EventLimits.ageYearsMax
    case .deviceWidth, .deviceHeight: EventLimits.devicePixelsMax
    case .releaseChannel: Int64(ReleaseChannel.develop.rawValue)
    default: EventLimits.sceneMax
    }
  }

  private func violationOfExperiments(_ context: BatchContext, prefix: String) -> RuleViolation? {
    let experiments = reader.experiments(of: context)
    guard experiments.count <= EventLimits.experimentsMax else {
      return RuleViolation(
        field: "\(prefix).experiments", reason: .tooMany,
        limit: "at most \(EventLimits.experimentsMax)",
        actual: "more than \(EventLimits.experimentsMax)")
    }
    let max = EventLimits.experimentBytesMax
    for experiment in experiments {
      if experiment.name.isEmpty { return .required("\(prefix).experiments.name") }
      let longer = Swift.max(experiment.name.length, experiment.variant.length)
      if longer > max { return .tooLong("\(prefix).experiments", bytes: longer, max: max) }
    }
    return nil
  }

  private static func name(ofNumber number: UInt64) -> String {
    ContextField(rawValue: UInt8(truncatingIfNeeded: number))?.name ?? "experiments"
  }
}

/// The one field that an event of ours has by definition.
package enum StayField {
  package static let name: StaticString = "stay_ms"
  static let path = "fields.stay_ms"

  package static func isName(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard bytes.count == name.utf8CodeUnitCount else { return false }
    return ASCII.equal(UnsafeRawBufferPointer(start: name.utf8Start, count: bytes.count), bytes)
  }
}
