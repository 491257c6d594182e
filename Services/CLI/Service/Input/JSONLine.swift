/// Parses one line of NDJSON: an object whose nested objects are flattened to `outer.inner`. Integers stay integers. Arrays are
/// kept as their JSON text.
package struct JSONLine {
  private let bytes: UnsafeBufferPointer<UInt8>
  private var index = 0
  private var pairs: [(name: String, value: CellValue)] = []

  private init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

  /// Name and value of each member, in order, nulls left out.
  package static func parse(_ line: some Sequence<UInt8>) throws(LineProblem) -> [(
    name: String, value: CellValue
  )] {
    let copy = ContiguousArray(line)
    let outcome = copy.withUnsafeBufferPointer {
      buffer -> Result<[(name: String, value: CellValue)], LineProblem> in
      var parser = JSONLine(buffer)
      do throws(LineProblem) {
        parser.skipBlanks()
        try parser.object(prefix: "", depth: 1)
        parser.skipBlanks()
        if parser.index < buffer.count { throw parser.problem("text behind the object") }
        return .success(parser.pairs)
      } catch {
        return .failure(error)
      }
    }
    return try outcome.get()
  }

  private func problem(_ what: String) -> LineProblem {
    LineProblem("bad_json", "\(what) at byte \(index + 1)")
  }

  private var current: UInt8? { index < bytes.count ? bytes[index] : nil }

  private mutating func skipBlanks() {
    while let byte = current, byte == 0x20 || byte == 0x09 || byte == 0x0d || byte == 0x0a {
      index += 1
    }
  }

  private mutating func expect(_ character: Unicode.Scalar) throws(LineProblem) {
    guard current == UInt8(ascii: character) else { throw problem("expected \(character)") }
    index += 1
  }

  private mutating func object(prefix: String, depth: Int) throws(LineProblem) {
    guard depth <= InputLimits.jsonDepthMax else {
      throw problem("objects nested deeper than \(InputLimits.jsonDepthMax)")
    }
    try expect("{")
    skipBlanks()
    if current == UInt8(ascii: "}") {
      index += 1
      return
    }
    while true {
      skipBlanks()
      let name = prefix + (try string())
      skipBlanks()
      try expect(":")
      skipBlanks()
      try member(name, depth: depth)
      skipBlanks()
      if current == UInt8(ascii: ",") {
        index += 1
      } else {
        break
      }
    }
    try expect("}")
  }

  private mutating func member(_ name: String, depth: Int) throws(LineProblem) {
    guard pairs.count < InputLimits.columnsMax else {
      throw problem("more than \(InputLimits.columnsMax) members")
    }
    switch current {
    case UInt8(ascii: "{"): try object(prefix: name + ".", depth: depth + 1)
    case UInt8(ascii: "["):
      let begin = index
      try skipArray(depth: depth + 1)
      pairs.append((name, .text(String(decoding: bytes[begin..<index], as: UTF8.self))))
    case UInt8(ascii: "\""): pairs.append((name, .text(try string())))
    case UInt8(ascii: "t"):
      try word("true")
      pairs.append((name, .boolean(true)))
    case UInt8(ascii: "f"):
      try word("false")
      pairs.append((name, .boolean(false)))
    case UInt8(ascii: "n"): try word("null")
    default: pairs.append((name, try number()))
    }
  }

  private mutating func word(_ word: StaticString) throws(LineProblem) {
    let matches = word.withUTF8Buffer { expected in
      index + expected.count <= bytes.count
        && bytes[index..<(index + expected.count)].elementsEqual(expected)
    }
    guard matches else { throw problem("expected \(word)") }
    index += word.utf8CodeUnitCount
  }

  /// Passes an array by. It is checked as far as brackets and strings go: only its text is kept.
  private mutating func skipArray(depth: Int) throws(LineProblem) {
    var open = 0
    while let byte = current {
      switch byte {
      case UInt8(ascii: "\""):
        _ = try string()
        continue
      case UInt8(ascii: "["), UInt8(ascii: "{"):
        open += 1
        guard open + depth <= InputLimits.jsonDepthMax + 1 else {
          throw problem("nested deeper than \(InputLimits.jsonDepthMax)")
        }
      case UInt8(ascii: "]"), UInt8(ascii: "}"): open -= 1
      default: break
      }
      index += 1
      if open == 0 { return }
    }
    throw problem("an array is not closed")
  }

  private mutating func number() throws(LineProblem) -> CellValue {
    let begin = index
    var isInteger = true
    while let byte = current {
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"): break
      case UInt8(ascii: "+"), UInt8(ascii: "."), UInt8(ascii: "e"), UInt8(ascii: "E"):
        isInteger = false
      default:
        return try value(of: begin..<index, isInteger: isInteger)
      }
      index += 1
    }
    return try value(of: begin..<index, isInteger: isInteger)
  }

  private func value(of range: Range<Int>, isInteger: Bool) throws(LineProblem) -> CellValue {
    let text = String(decoding: bytes[range], as: UTF8.self)
    if isInteger, let integer = Int64(text) { return .integer(integer) }
    guard let double = Double(text), double.isFinite else { throw problem("not a value") }
    return .double(double)
  }

  private mutating func string() throws(LineProblem) -> String {
    try expect("\"")
    var text: [UInt8] = []
    while let byte = current {
      index += 1
      switch byte {
      case UInt8(ascii: "\""):
        guard let string = String(validating: text, as: UTF8.self) else {
          throw LineProblem("bad_utf8", "not UTF-8: save the file as UTF-8")
        }
        return string
      case UInt8(ascii: "\\"): try escape(onto: &text)
      case 0..<0x20: throw problem("a control character in a string")
      default: text.append(byte)
      }
    }
    throw problem("a string is not closed")
  }

  private mutating func escape(onto text: inout [UInt8]) throws(LineProblem) {
    guard let byte = current else { throw problem("a string is not closed") }
    index += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0c)
    case UInt8(ascii: "n"): text.append(0x0a)
    case UInt8(ascii: "r"): text.append(0x0d)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      var code = UInt32(try codeUnit())
      if (0xd800..<0xdc00).contains(code) {
        try expect("\\")
        try expect("u")
        let low = UInt32(try codeUnit())
        guard (0xdc00..<0xe000).contains(low) else { throw problem("half of a character") }
        code = 0x10000 + (code - 0xd800) << 10 + (low - 0xdc00)
      }
      guard let scalar = Unicode.Scalar(code) else { throw problem("half of a character") }
      text += Array(String(Character(scalar)).utf8)
    default: throw problem("an unknown escape")
    }
  }

  private mutating func codeUnit() throws(LineProblem) -> UInt16 {
    guard index + 4 <= bytes.count,
      let unit = UInt16(String(decoding: bytes[index..<(index + 4)], as: UTF8.self), radix: 16)
    else { throw problem("four hexadecimal digits are missing") }
    index += 4
    return unit
  }
}
