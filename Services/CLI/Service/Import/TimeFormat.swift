/// How the times of a file are written.
package enum TimeFormat: Sendable, Equatable {
  /// ISO 8601 with blank or T, seconds and fraction optional, offset optional; or a number since 1970: of 1 to 11 digits seconds
  /// (a fraction allowed), of 12 to 14 digits milliseconds.
  case automatic
  /// Seconds since 1970.
  case unixSeconds
  /// Milliseconds since 1970.
  case unixMilliseconds
  /// `%Y %m %d %H %M %S %f %z %b %y %I %p %%`, as in `strptime`; `%f` is a fraction of 1 to 9 digits.
  case pattern(String)

  /// - Throws: a sentence that names what is not understood.
  package init(_ text: String) throws(LineProblem) {
    switch text {
    case "auto": self = .automatic
    case "unix": self = .unixSeconds
    case "unix-ms": self = .unixMilliseconds
    default:
      var characters = text.makeIterator()
      var directives = 0
      while let character = characters.next() {
        guard character == "%" else { continue }
        guard let directive = characters.next(), "YmdHMSfzbyIp%".contains(directive) else {
          throw LineProblem(
            "bad_format", "--time-format: knows auto, unix, unix-ms and patterns of %Y %m %d %H "
              + "%M %S %f %z %b %y %I %p %%, not \"\(text)\"")
        }
        directives += 1
      }
      guard directives > 0 else {
        throw LineProblem("bad_format", "--time-format: no directive in \"\(text)\"")
      }
      self = .pattern(text)
    }
  }
}

/// A time as its digits say, with or without its distance from UTC.
package struct WrittenTime: Sendable, Equatable {
  /// Milliseconds since 1970 as if it had been written in UTC.
  package var localMilliseconds: Int64
  /// What it says of itself; nil: the zone of the file.
  package var offsetSeconds: Int?
}

/// Reads times of one format.
package struct TimeReader: Sendable {
  private let format: TimeFormat

  package init(_ format: TimeFormat) { self.format = format }

  /// nil where the text is no time of the format.
  package func read(_ text: String) -> WrittenTime? {
    var scanner = TimeScanner(text)
    let time: WrittenTime?
    switch format {
    case .automatic: time = scanner.automatic()
    case .unixSeconds: time = scanner.number(perSecond: 1)
    case .unixMilliseconds: time = scanner.number(perSecond: 1_000)
    case .pattern(let pattern): time = scanner.pattern(pattern)
    }
    return scanner.isAtEnd ? time : nil
  }
}
