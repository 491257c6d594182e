/// Finds one CSV record at the front of some bytes. Holds no state.
package enum CSVScanner {
  package enum Outcome: Equatable {
    /// Nothing is left.
    case end
    /// The record's end is not there yet.
    case incomplete
    /// - fields: nil where one is not UTF-8.
    /// - length: bytes of the record without its line end.
    /// - taken: bytes with it.
    /// - lines: lines that it covers.
    case record(fields: [String]?, length: Int, taken: Int, lines: Int)
    case broken(LineProblem)
  }

  private static let quote = UInt8(ascii: "\"")
  private static let lineFeed = UInt8(ascii: "\n")
  private static let carriageReturn = UInt8(ascii: "\r")

  package static func scan(
    _ bytes: ArraySlice<UInt8>, delimiter: UInt8, isComplete: Bool
  ) -> Outcome {
    if bytes.isEmpty { return isComplete ? .end : .incomplete }
    return bytes.withUnsafeBufferPointer { buffer in
      let lineEnd = buffer.firstIndex(of: lineFeed)
      if lineEnd == nil && !isComplete { return .incomplete }
      let line = buffer[..<(lineEnd ?? buffer.endIndex)]
      if line.contains(quote) {
        return scanQuoted(buffer, delimiter: delimiter, isComplete: isComplete)
      }
      let taken = line.count + (lineEnd == nil ? 0 : 1)
      let content = line.last == carriageReturn ? line.dropLast() : line
      var fields: [String]? = []
      for part in content.split(separator: delimiter, omittingEmptySubsequences: false) {
        guard let text = String(validating: part, as: UTF8.self) else {
          fields = nil
          break
        }
        fields?.append(text)
      }
      return .record(fields: fields, length: content.count, taken: taken, lines: 1)
    }
  }

  private static func scanQuoted(
    _ bytes: UnsafeBufferPointer<UInt8>, delimiter: UInt8, isComplete: Bool
  ) -> Outcome {
    var fields: [String]? = []
    var field: [UInt8] = []
    var index = 0
    var lines = 1
    func finishField() {
      if let text = String(validating: field, as: UTF8.self) {
        fields?.append(text)
      } else {
        fields = nil
      }
      field.removeAll(keepingCapacity: true)
    }
    while true {
      // At the beginning of a field.
      if index < bytes.count && bytes[index] == quote {
        index += 1
        quoted: while true {
          guard index < bytes.count else {
            return isComplete
              ? .broken(LineProblem("bad_quotes", "a quote is not closed")) : .incomplete
          }
          let byte = bytes[index]
          index += 1
          if byte != quote {
            if byte == lineFeed { lines += 1 }
            field.append(byte)
          } else if index < bytes.count && bytes[index] == quote {
            field.append(quote)
            index += 1
          } else if index == bytes.count && !isComplete {
            return .incomplete
          } else {
            break quoted
          }
        }
      } else {
        while index < bytes.count, bytes[index] != delimiter, bytes[index] != lineFeed {
          if bytes[index] == quote {
            return .broken(LineProblem("bad_quotes", "a quote inside a field without quotes"))
          }
          field.append(bytes[index])
          index += 1
        }
      }
      guard index < bytes.count else {
        guard isComplete else { return .incomplete }
        if field.last == carriageReturn { field.removeLast() }
        finishField()
        return .record(fields: fields, length: index, taken: index, lines: lines)
      }
      switch bytes[index] {
      case delimiter:
        finishField()
        index += 1
      case lineFeed:
        let hasReturn = field.last == carriageReturn && bytes[index - 1] == carriageReturn
        if hasReturn { field.removeLast() }
        finishField()
        return .record(
          fields: fields, length: index - (hasReturn ? 1 : 0), taken: index + 1, lines: lines)
      case carriageReturn where index + 1 < bytes.count && bytes[index + 1] == lineFeed:
        finishField()
        return .record(fields: fields, length: index, taken: index + 2, lines: lines)
      case carriageReturn where index + 1 == bytes.count:
        if !isComplete { return .incomplete }
        finishField()
        return .record(fields: fields, length: index, taken: index + 1, lines: lines)
      default:
        return .broken(LineProblem("bad_quotes", "text behind the closing quote of a field"))
      }
    }
  }
}
