/// A regular expression that is matched in time linear in the text: a set of states walks over it, so no pattern can
/// make a query hang. Looks for the pattern anywhere in the text.
///
/// Known: literals, `.`, classes `[a-z^]`, `\d \w \s \D \W \S`, escapes, `^ $`, groups, `|`, `* + ? {m} {m,} {m,n}`
/// (lazy forms mean the same here). Not known, and refused: back references, look-around, named groups, flags.
struct Pattern: Sendable {
  /// States that a pattern may compile to.
  static let statesMax = 4_096

  private let program: [Instruction]

  fileprivate enum Instruction: Sendable {
    case scalar(ScalarSet)
    case split(Int, Int)
    case jump(Int)
    case assertBegin
    case assertEnd
    case match
  }

  struct Failure: Error {
    let reason: String
  }

  init(_ text: String) throws(Failure) {
    var parser = PatternParser(text)
    let tree = try parser.parse()
    var compiler = PatternCompiler()
    try compiler.add(tree)
    try compiler.append(.match)
    program = compiler.program
  }

  /// Cost: at most the pattern's states times the text's scalars.
  func matches(_ text: String) -> Bool {
    let scalars = text.unicodeScalars
    var current = StateSet(program.count)
    var next = StateSet(program.count)
    var index = scalars.startIndex
    var isBegin = true
    while true {
      let isEnd = index == scalars.endIndex
      // A match may begin anywhere.
      add(0, to: &current, isBegin: isBegin, isEnd: isEnd)
      if current.hasMatch { return true }
      if isEnd { return false }
      next.removeAll()
      let scalar = scalars[index]
      scalars.formIndex(after: &index)
      isBegin = false
      let nextIsEnd = index == scalars.endIndex
      for state in current.states {
        if case .scalar(let set) = program[state], set.contains(scalar) {
          add(state + 1, to: &next, isBegin: false, isEnd: nextIsEnd)
        }
      }
      swap(&current, &next)
    }
  }

  private func add(_ first: Int, to set: inout StateSet, isBegin: Bool, isEnd: Bool) {
    var stack = [first]
    while let state = stack.popLast() {
      guard set.insert(state) else { continue }
      switch program[state] {
      case .scalar: break
      case .jump(let target): stack.append(target)
      case .split(let a, let b):
        stack.append(a)
        stack.append(b)
      case .assertBegin: if isBegin { stack.append(state + 1) }
      case .assertEnd: if isEnd { stack.append(state + 1) }
      case .match: set.hasMatch = true
      }
    }
  }

  private struct StateSet {
    private(set) var states: [Int] = []
    private var isMember: [Bool]
    var hasMatch = false

    init(_ count: Int) { isMember = Array(repeating: false, count: count) }

    mutating func insert(_ state: Int) -> Bool {
      if isMember[state] { return false }
      isMember[state] = true
      states.append(state)
      return true
    }

    mutating func removeAll() {
      for state in states { isMember[state] = false }
      states.removeAll(keepingCapacity: true)
      hasMatch = false
    }
  }
}

/// Which scalars one step takes.
struct ScalarSet: Sendable {
  var ranges: [ClosedRange<UInt32>] = []
  var isNegated = false

  func contains(_ scalar: Unicode.Scalar) -> Bool {
    ranges.contains { $0.contains(scalar.value) } != isNegated
  }

  static let any = ScalarSet(ranges: [], isNegated: true)
  static let digit = ScalarSet(ranges: [0x30...0x39])
  static let word = ScalarSet(ranges: [0x30...0x39, 0x41...0x5a, 0x5f...0x5f, 0x61...0x7a])
  static let space = ScalarSet(ranges: [0x09...0x0d, 0x20...0x20])

  static func one(_ scalar: Unicode.Scalar) -> ScalarSet {
    ScalarSet(ranges: [scalar.value...scalar.value])
  }

  /// The scalars outside of these, as ranges.
  var inverted: [ClosedRange<UInt32>] {
    var result: [ClosedRange<UInt32>] = []
    var next: UInt32 = 0
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if range.lowerBound > next { result.append(next...range.lowerBound - 1) }
      next = max(next, range.upperBound + 1)
    }
    result.append(next...0x10ffff)
    return result
  }
}

private indirect enum PatternTree {
  case empty
  case scalar(ScalarSet)
  case begin
  case end
  case sequence([PatternTree])
  case choice([PatternTree])
  /// nil: without an upper bound.
  case repeated(PatternTree, Int, Int?)
}

private struct PatternParser {
  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var depth = 0

  init(_ text: String) { scalars = Array(text.unicodeScalars) }

  private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

  mutating func parse() throws(Pattern.Failure) -> PatternTree {
    let tree = try choice()
    guard next == nil else { throw Pattern.Failure(reason: "unbalanced )") }
    return tree
  }

  private mutating func choice() throws(Pattern.Failure) -> PatternTree {
    var branches = [try sequence()]
    while next == "|" {
      position += 1
      branches.append(try sequence())
    }
    return branches.count == 1 ? branches[0] : .choice(branches)
  }

  private mutating func sequence() throws(Pattern.Failure) -> PatternTree {
    var items: [PatternTree] = []
    while let scalar = next, scalar != "|", scalar != ")" {
      items.append(try quantified(try atom()))
    }
    return items.isEmpty ? .empty : .sequence(items)
  }

  private mutating func quantified(_ atom: PatternTree) throws(Pattern.Failure) -> PatternTree {
    let bounds: (Int, Int?)
    switch next {
    case "*": bounds = (0, nil)
    case "+": bounds = (1, nil)
    case "?": bounds = (0, 1)
    case "{":
      position += 1
      bounds = try braces()
      position -= 1
    default: return atom
    }
    position += 1
    if next == "?" { position += 1 }
    if let again = next, again == "*" || again == "+" || again == "{" || again == "?" {
      throw Pattern.Failure(reason: "nothing to repeat before \(again)")
    }
    return .repeated(atom, bounds.0, bounds.1)
  }

  /// Behind `{`; ends behind `}`.
  private mutating func braces() throws(Pattern.Failure) -> (Int, Int?) {
    let low = try number()
    var high: Int? = low
    if next == "," {
      position += 1
      high = next == "}" ? nil : try number()
    }
    guard next == "}" else { throw Pattern.Failure(reason: "{ without }") }
    position += 1
    if let high, high < low { throw Pattern.Failure(reason: "{\(low),\(high)} is inverted") }
    return (low, high)
  }

  private mutating func number() throws(Pattern.Failure) -> Int {
    var value: Int?
    while let scalar = next, let digit = Int(String(scalar)), scalar.isASCII {
      value = (value ?? 0) * 10 + digit
      position += 1
      if let value, value > 1_000 { throw Pattern.Failure(reason: "more than 1,000 repetitions") }
    }
    guard let value else { throw Pattern.Failure(reason: "{ must be followed by a number") }
    return value
  }

  private mutating func atom() throws(Pattern.Failure) -> PatternTree {
    guard let scalar = next else { return .empty }
    position += 1
    switch scalar {
    case ".": return .scalar(.any)
    case "^": return .begin
    case "$": return .end
    case "(": return try group()
    case "[": return .scalar(try characterClass())
    case "\\": return .scalar(try escape())
    case "*", "+", "?", "{": throw Pattern.Failure(reason: "nothing to repeat before \(scalar)")
    default: return .scalar(.one(scalar))
    }
  }

  private mutating func group() throws(Pattern.Failure) -> PatternTree {
    depth += 1
    guard depth <= 32 else { throw Pattern.Failure(reason: "groups nested deeper than 32") }
    if next == "?" {
      position += 1
      guard next == ":" else { throw Pattern.Failure(reason: "(? is only known as (?:") }
      position += 1
    }
    let tree = try choice()
    guard next == ")" else { throw Pattern.Failure(reason: "( without )") }
    position += 1
    depth -= 1
    return tree
  }

  /// Behind the backslash.
  private mutating func escape() throws(Pattern.Failure) -> ScalarSet {
    guard let scalar = next else { throw Pattern.Failure(reason: "ends with \\") }
    position += 1
    switch scalar {
    case "d": return .digit
    case "D": return ScalarSet(ranges: ScalarSet.digit.inverted)
    case "w": return .word
    case "W": return ScalarSet(ranges: ScalarSet.word.inverted)
    case "s": return .space
    case "S": return ScalarSet(ranges: ScalarSet.space.inverted)
    case "n": return .one("\n")
    case "t": return .one("\t")
    case "r": return .one("\r")
    default:
      guard !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) else {
        throw Pattern.Failure(reason: "\\\(scalar) is not known")
      }
      return .one(scalar)
    }
  }

  /// Behind `[`; ends behind `]`.
  private mutating func characterClass() throws(Pattern.Failure) -> ScalarSet {
    var set = ScalarSet()
    if next == "^" {
      set.isNegated = true
      position += 1
    }
    var isFirst = true
    while let scalar = next, scalar != "]" || isFirst {
      isFirst = false
      position += 1
      let low = scalar == "\\" ? try escape() : .one(scalar)
      guard next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
        set.ranges += low.ranges
        continue
      }
      position += 1
      let end = scalars[position]
      position += 1
      let high = end == "\\" ? try escape() : .one(end)
      guard low.ranges.count == 1, high.ranges.count == 1, low.ranges[0].count == 1,
        high.ranges[0].count == 1, low.ranges[0].lowerBound <= high.ranges[0].lowerBound
      else { throw Pattern.Failure(reason: "bad range in [ ]") }
      set.ranges.append(low.ranges[0].lowerBound...high.ranges[0].lowerBound)
    }
    guard next == "]" else { throw Pattern.Failure(reason: "[ without ]") }
    position += 1
    return set
  }
}

private struct PatternCompiler {
  var program: [Pattern.Instruction] = []

  mutating func append(_ instruction: Pattern.Instruction) throws(Pattern.Failure) {
    guard program.count < Pattern.statesMax else {
      throw Pattern.Failure(reason: "needs more than \(Pattern.statesMax) states")
    }
    program.append(instruction)
  }

  mutating func add(_ tree: PatternTree) throws(Pattern.Failure) {
    switch tree {
    case .empty: break
    case .scalar(let set): try append(.scalar(set))
    case .begin: try append(.assertBegin)
    case .end: try append(.assertEnd)
    case .sequence(let items): for item in items { try add(item) }
    case .choice(let branches): try addChoice(branches[...])
    case .repeated(let item, let low, let high): try addRepeated(item, low, high)
    }
  }

  private mutating func addChoice(_ branches: ArraySlice<PatternTree>) throws(Pattern.Failure) {
    guard let first = branches.first else { return }
    guard branches.count > 1 else { return try add(first) }
    let split = program.count
    try append(.jump(0))
    try add(first)
    let jump = program.count
    try append(.jump(0))
    program[split] = .split(split + 1, program.count)
    try addChoice(branches.dropFirst())
    program[jump] = .jump(program.count)
  }

  private mutating func addRepeated(
    _ item: PatternTree, _ low: Int, _ high: Int?
  ) throws(Pattern.Failure) {
    for _ in 0..<low { try add(item) }
    guard let high else {
      let split = program.count
      try append(.jump(0))
      try add(item)
      try append(.jump(split))
      program[split] = .split(split + 1, program.count)
      return
    }
    var splits: [Int] = []
    for _ in low..<high {
      splits.append(program.count)
      try append(.jump(0))
      try add(item)
    }
    for split in splits { program[split] = .split(split + 1, program.count) }
  }
}
