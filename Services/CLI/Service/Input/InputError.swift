/// The file as a whole cannot be read on: reported once, ends the import.
package struct InputError: Error, Sendable, CustomStringConvertible {
  package let description: String

  package init(_ description: String) { self.description = description }
}

/// One line that cannot be used; the lines behind it can. Never fatal.
package struct LineProblem: Error, Sendable, Equatable {
  /// A word for machines: `column_count bad_quotes bad_utf8 too_long bad_json bad_time required ...`.
  package var reason: String
  /// The column or the field of an event; empty where the whole line is meant.
  package var field: String
  /// A sentence for people.
  package var message: String

  package init(_ reason: String, field: String = "", _ message: String) {
    self.reason = reason
    self.field = field
    self.message = message
  }
}

/// Bounds of what is read from a file.
package enum InputLimits {
  /// A line, quoted line breaks included.
  package static let lineBytesMax = 262_144
  package static let columnsMax = 1_024
  package static let jsonDepthMax = 8
  /// Bytes taken from the file at a time.
  package static let readBytes = 131_072
}
