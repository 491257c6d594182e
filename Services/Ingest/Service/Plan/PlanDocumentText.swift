import Messages
import RPC
import SwiftProtobuf

/// A plan as text: the same plan is the same text.
enum PlanDocumentText {
  static func write(_ document: ProtoPlanDocument) throws -> String {
    var options = JSONEncodingOptions()
    options.preserveProtoFieldNames = true
    return indented(try document.jsonString(options: options)) + "\n"
  }

  /// - Throws: INVALID_ARGUMENT.
  static func read(_ text: String) throws(RPCError) -> ProtoPlanDocument {
    let count = text.utf8.count
    guard count <= Limits.Plan.documentBytesMax else {
      throw IngestErrors.invalid(
        "text", "at most \(Limits.Plan.documentBytesMax) bytes; got \(count) bytes")
    }
    do {
      return try ProtoPlanDocument(jsonString: text)
    } catch {
      throw PlanErrors.badDocument(error)
    }
  }

  /// A plan with its events in order and normalized.
  static func normalized(_ document: ProtoPlanDocument) -> ProtoPlanDocument {
    var document = document
    if document.mode == .unspecified { document.mode = .open }
    document.pages.sort()
    for index in document.events.indices {
      document.events[index].definition = document.events[index].definition.normalized()
    }
    document.events.sort { $0.definition.name < $1.definition.name }
    return document
  }

  /// JSON on lines of its own, two spaces to a level, so that a change is a change of few lines.
  ///
  /// - Parameter json: well-formed, on one line.
  static func indented(_ json: String) -> String {
    var result: [UInt8] = []
    result.reserveCapacity(json.utf8.count * 2)
    var level = 0
    var isInText = false
    var isEscaped = false
    let bytes = Array(json.utf8)
    func newLine() {
      result.append(10)
      result.append(contentsOf: repeatElement(32, count: level * 2))
    }
    for (index, byte) in bytes.enumerated() {
      if isInText {
        result.append(byte)
        isInText = isEscaped || byte != UInt8(ascii: "\"")
        isEscaped = !isEscaped && byte == UInt8(ascii: "\\")
        continue
      }
      switch byte {
      case UInt8(ascii: "\""):
        isInText = true
        result.append(byte)
      case UInt8(ascii: "{"), UInt8(ascii: "["):
        result.append(byte)
        level += 1
        // An empty one stays on its line.
        if bytes[index + 1] != byte + 2 { newLine() }
      case UInt8(ascii: "}"), UInt8(ascii: "]"):
        level -= 1
        if bytes[index - 1] != byte - 2 { newLine() }
        result.append(byte)
      case UInt8(ascii: ","):
        result.append(byte)
        newLine()
      case UInt8(ascii: ":"): result.append(contentsOf: [byte, 32])
      default: result.append(byte)
      }
    }
    return String(decoding: result, as: UTF8.self)
  }
}

/// What is collected of an event, or would be: what a plan's text says of it.
struct EffectiveEvent: Equatable {
  let definition: ProtoEventDefinition
  let isPublished: Bool

  /// nil: archived.
  init?(_ event: ProtoPlannedEvent) {
    guard event.state != .archived else { return nil }
    isPublished = event.hasPublished
    definition = event.hasPublished ? event.published : event.definition
  }

  init(_ event: ProtoPlanDocumentEvent) {
    definition = event.definition
    isPublished = event.published
  }

  var document: ProtoPlanDocumentEvent {
    .with {
      $0.definition = definition
      $0.published = isPublished
    }
  }
}
