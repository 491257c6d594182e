package import Messages

/// Parses a filter as people write it:
///
/// ```
/// platform = desktop and (price >= 10 or not coupon exists)
/// city in (Beijing, 'Hong Kong')     price between 1 and 9     page_path prefix pages/
/// ```
///
/// `=  !=  <  <=  >  >=  ~` (regex), `in`, `not in`, `between`, `contains`, `not contains`, `prefix`, `exists`, `not exists`;
/// `and` binds tighter than `or`. A bare number is a number, `true` and `false` are booleans, all else and whatever stands
/// in quotes is text.
package struct FilterText {
  /// Tokens of a filter at most; the server's bounds are narrower.
  private static let tokensMax = 5_000

  private enum Token: Equatable {
    case word(String)
    case quoted(String)
    case sign(String)
  }

  private var tokens: [Token] = []
  private var index = 0
  private var depth = 0

  /// - Throws: `CommandFailure` of a wrong call, with the place.
  package static func parse(_ text: String) throws -> ProtoFilter {
    var parser = FilterText()
    try parser.tokenize(text)
    let filter = try parser.disjunction()
    if parser.index < parser.tokens.count { throw parser.problem("the end, \"and\" or \"or\"") }
    return filter
  }

  private mutating func tokenize(_ text: String) throws {
    var rest = Array(text)[...]
    while let character = rest.first {
      if character.isWhitespace {
        rest.removeFirst()
      } else if character == "'" || character == "\"" {
        rest.removeFirst()
        guard let end = rest.firstIndex(of: character) else {
          throw CommandFailure.usage("filter: a quote is not closed")
        }
        tokens.append(.quoted(String(rest[..<end])))
        rest = rest[(end + 1)...]
      } else if "=!<>~(),".contains(character) {
        rest.removeFirst()
        if "!<>=".contains(character), rest.first == "=" {
          rest.removeFirst()
          tokens.append(.sign(character == "=" ? "=" : "\(character)="))
        } else {
          tokens.append(.sign(String(character)))
        }
      } else {
        let word = rest.prefix { !$0.isWhitespace && !"=!<>~(),'\"".contains($0) }
        tokens.append(.word(String(word)))
        rest = rest[word.endIndex...]
      }
      guard tokens.count <= Self.tokensMax else {
        throw CommandFailure.usage("filter: more than \(Self.tokensMax) words")
      }
    }
  }

  private var found: String {
    guard index < tokens.count else { return "the end" }
    switch tokens[index] {
    case .word(let text), .sign(let text): return "\"\(text)\""
    case .quoted(let text): return "'\(text)'"
    }
  }

  private func problem(_ expected: String) -> CommandFailure {
    .usage("filter: expected \(expected), found \(found)")
  }

  private mutating func take(_ sign: String) -> Bool {
    guard index < tokens.count, tokens[index] == .sign(sign) else { return false }
    index += 1
    return true
  }

  private mutating func takeWord(_ word: String) -> Bool {
    guard index < tokens.count, case .word(let text) = tokens[index], text.lowercased() == word
    else { return false }
    index += 1
    return true
  }

  private mutating func disjunction() throws -> ProtoFilter {
    try group(of: "or", { try $0.conjunction() }) { $0.or = $1 }
  }

  private mutating func conjunction() throws -> ProtoFilter {
    try group(of: "and", { try $0.negation() }) { $0.and = $1 }
  }

  private mutating func group(
    of word: String, _ part: (inout FilterText) throws -> ProtoFilter,
    _ wrap: (inout ProtoFilter, ProtoFilterGroup) -> Void
  ) throws -> ProtoFilter {
    var group = ProtoFilterGroup()
    repeat { group.filters.append(try part(&self)) } while takeWord(word)
    if group.filters.count == 1 { return group.filters[0] }
    var filter = ProtoFilter()
    wrap(&filter, group)
    return filter
  }

  private mutating func negation() throws -> ProtoFilter {
    depth += 1
    defer { depth -= 1 }
    guard depth <= 32 else { throw CommandFailure.usage("filter: nested deeper than 32") }
    if takeWord("not") {
      var filter = ProtoFilter()
      filter.not = try negation()
      return filter
    }
    guard take("(") else { return try condition() }
    let filter = try disjunction()
    guard take(")") else { throw problem("\")\"") }
    return filter
  }

  private mutating func condition() throws -> ProtoFilter {
    guard index < tokens.count, case .word(let field) = tokens[index] else {
      throw problem("the name of a field")
    }
    index += 1
    var condition = ProtoCondition()
    condition.field = field
    try readOperator(&condition)
    var filter = ProtoFilter()
    filter.condition = condition
    return filter
  }

  private mutating func readOperator(_ condition: inout ProtoCondition) throws {
    let signs: [(String, ProtoOperator)] = [
      ("=", .eq), ("!=", .ne), ("<", .lt), ("<=", .le), (">", .gt), (">=", .ge), ("~", .regex),
    ]
    for (sign, op) in signs where take(sign) {
      condition.operator = op
      condition.values = [try value(isText: op == .regex)]
      return
    }
    let isNegated = takeWord("not")
    if takeWord("in") {
      condition.operator = isNegated ? .notIn : .in
      condition.values = try list()
    } else if takeWord("contains") {
      condition.operator = isNegated ? .notContains : .contains
      condition.values = [try value(isText: true)]
    } else if takeWord("exists") {
      condition.operator = isNegated ? .notExists : .exists
    } else if !isNegated, takeWord("prefix") {
      condition.operator = .prefix
      condition.values = [try value(isText: true)]
    } else if !isNegated, takeWord("between") {
      condition.operator = .between
      let low = try value(isText: false)
      guard takeWord("and") else { throw problem("\"and\" of between") }
      condition.values = [low, try value(isText: false)]
    } else {
      throw problem("an operator behind \"\(condition.field)\"")
    }
  }

  private mutating func list() throws -> [ProtoFieldValue] {
    guard take("(") else { throw problem("\"(\"") }
    var values: [ProtoFieldValue] = []
    repeat { values.append(try value(isText: false)) } while take(",")
    guard take(")") else { throw problem("\",\" or \")\"") }
    return values
  }

  private mutating func value(isText: Bool) throws -> ProtoFieldValue {
    guard index < tokens.count else { throw problem("a value") }
    switch tokens[index] {
    case .quoted(let text):
      index += 1
      var value = ProtoFieldValue()
      value.stringValue = text
      return value
    case .word(let text):
      index += 1
      if !isText { return ProtoFieldValue(guessing: text) }
      var value = ProtoFieldValue()
      value.stringValue = text
      return value
    case .sign: throw problem("a value")
    }
  }
}

extension ProtoFieldValue {
  /// A number, `true` or `false` where the text is one, else text.
  package init(guessing text: String) {
    self.init()
    if let integer = Int64(text) {
      integerValue = integer
    } else if text.utf8.first.map({ (0x30...0x39).contains($0) || $0 == 0x2d }) ?? false,
      let double = Double(text), double.isFinite
    {
      doubleValue = double
    } else if text == "true" || text == "false" {
      booleanValue = text == "true"
    } else {
      stringValue = text
    }
  }
}
