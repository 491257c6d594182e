package import Events

/// What is known of a user's fields: for each the value that the latest event told.
package struct UserAttributes: Sendable, Equatable {
  package enum Value: Sendable, Equatable {
    case text(String)
    case integer(Int64)
  }

  package struct Known: Sendable, Equatable {
    package var value: Value
    package var timeMilliseconds: Int64
    /// The device's sequence number decides between equal times.
    package var sequence: UInt64
  }

  /// By field number, in order.
  private var known: [(field: ContextField, known: Known)] = []

  package init() {}

  package subscript(field: ContextField) -> Known? {
    known.first { $0.field == field }?.known
  }

  /// All that is known, in the order of the field numbers.
  package var all: [(field: ContextField, known: Known)] { known }

  package func text(_ field: ContextField) -> String {
    guard case .text(let text)? = self[field]?.value else { return "" }
    return text
  }

  /// Whether a value of this time would replace the known one: the latest event time wins, then the highest sequence
  /// number, then what came last.
  @inline(__always)
  package func accepts(_ field: ContextField, timeMilliseconds: Int64, sequence: UInt64) -> Bool {
    guard let known = self[field] else { return true }
    return timeMilliseconds != known.timeMilliseconds
      ? timeMilliseconds > known.timeMilliseconds : sequence >= known.sequence
  }

  /// Takes a value unless a later one is known.
  package mutating func tell(
    _ field: ContextField, _ value: Value, timeMilliseconds: Int64, sequence: UInt64
  ) {
    guard accepts(field, timeMilliseconds: timeMilliseconds, sequence: sequence) else { return }
    let new = Known(value: value, timeMilliseconds: timeMilliseconds, sequence: sequence)
    if let place = known.firstIndex(where: { $0.field.rawValue >= field.rawValue }) {
      if known[place].field == field {
        known[place].known = new
      } else {
        known.insert((field, new), at: place)
      }
    } else {
      known.append((field, new))
    }
  }

  package static func == (a: UserAttributes, b: UserAttributes) -> Bool {
    a.known.elementsEqual(b.known) { $0.field == $1.field && $0.known == $1.known }
  }

  /// ```
  /// n | n x ( 2 x field + (1: integer) | value | time | sequence )
  /// ```
  package func encode(into writer: inout PackedWriter) {
    writer.unsigned(UInt64(known.count))
    for (field, known) in known {
      switch known.value {
      case .text(let text):
        writer.unsigned(UInt64(field.rawValue) << 1)
        writer.text(text)
      case .integer(let integer):
        writer.unsigned(UInt64(field.rawValue) << 1 | 1)
        writer.signed(integer)
      }
      writer.signed(known.timeMilliseconds)
      writer.unsigned(known.sequence)
    }
  }

  package init(from reader: inout PackedReader) throws(PackedError) {
    let count = try reader.count(max: 64)
    known.reserveCapacity(count)
    for _ in 0..<count {
      let tag = try reader.unsigned()
      guard tag < 128, let field = ContextField(rawValue: UInt8(tag >> 1)) else {
        throw PackedError()
      }
      let value: Value = tag & 1 == 0 ? .text(try reader.text()) : .integer(try reader.signed())
      let known = Known(
        value: value, timeMilliseconds: try reader.signed(), sequence: try reader.unsigned())
      self.known.append((field, known))
    }
  }
}
