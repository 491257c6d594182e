import Ingest
import TestKit
import Testing

@Suite struct PatternMatcherTests {
  private static let all = PatternMatcher([.phone, .idCard, .email, .bankCard, .ipAddress])

  private static func rule(_ text: String) -> String? {
    var copy = text
    return copy.withUTF8 { all.match(UnsafeRawBufferPointer($0)) }?.word
  }

  @Test(arguments: [
    ("13812345678", "phone"), ("电话13812345678。", "phone"), ("+8613812345678", "phone"),
    ("8613812345678", "phone"), ("008613812345678", "phone"), ("+86 138 1234 5678", "phone"),
    ("138-1234-5678", "phone"), ("tel:13812345678;ext=1", "phone"), ("a_19912345678_b", "phone"),
    ("11010519491231002X", "id_card"), ("11010519491231002x", "id_card"),
    ("id 110105188012310021", nil), ("110105194912310021", nil), ("11010519490231002X", nil),
    ("440524198001010013", "id_card"), ("110105 19491231 002X", "id_card"),
    ("ada@example.com", "email"), ("mail ada.l+x@mail.example.co.uk now", "email"), ("ada@localhost", nil),
    ("@example.com", nil), ("a@b.c", nil), ("a@b.c1", nil), ("price@12.50", nil),
    ("4111111111111111", "bank_card"), ("4111 1111 1111 1111", "bank_card"),
    ("6222-0200-0000-0000-004", nil), ("4111111111111112", nil), ("1111111111111117", nil),
    ("192.168.0.1", "ip_address"), ("from 10.0.0.255:80", "ip_address"), ("256.1.1.1", nil),
    ("1.2.3", nil), ("1.2.3.4.5", nil), ("v1.2.3.4", nil), ("8.0.49.2580", nil),
    ("2001:db8::1", "ip_address"), ("[fe80::1%eth0]", "ip_address"), ("::1", "ip_address"),
    ("::ffff:192.0.2.1", "ip_address"), ("2001:db8:0:0:0:0:0:1/64", "ip_address"),
    ("10:00:00", nil), ("std::vector", nil), ("::", nil), ("aa:bb:cc:dd:ee:ff", nil),
    ("12812345678", nil), ("1381234567", nil), ("138123456789", nil), ("x13812345678", nil),
    ("2024-03-01 10:00:00", nil), ("1760000000000", nil), ("sku-1", nil), ("", nil),
    ("3f2b8c1e-13812345678a", nil), ("1 3 8 1 2 3 4 5 6 7 8", nil),
  ] as [(String, String?)])
  func `a text is recognised by its form, and like ones are let be`(text: String, rule: String?) {
    #expect(Self.rule(text) == rule)
  }

  @Test(arguments: [
    (13_812_345_678, "phone"), (8_613_812_345_678, "phone"), (12_812_345_678, nil),
    (4_111_111_111_111_111, "bank_card"), (440_524_198_001_010_013, "id_card"), (42, nil), (-13_812_345_678, nil),
    (Int64.max, nil), (1_760_000_000_000, nil),
  ] as [(Int64, String?)])
  func `a number is read as its digits`(number: Int64, rule: String?) {
    #expect(Self.all.match(number)?.word == rule)
  }

  @Test func `only the rules that are asked for are applied`() {
    let matcher = PatternMatcher([.email])
    var text = "13812345678 192.168.0.1"
    #expect(text.withUTF8 { matcher.match(UnsafeRawBufferPointer($0)) } == nil)
    #expect(PatternMatcher([]).isEmpty)
  }

  @Test(arguments: [
    ("EMP-######", "EMP-123456", true), ("EMP-######", "is EMP-123456.", true),
    ("EMP-######", "EMP-1234567", false), ("EMP-######", "XEMP-123456", false),
    ("EMP-######", "EMP-12345", false), ("EMP-######", "emp-123456", false),
    ("%%-##", "ab-12", true), ("%%-##", "1b-12", false), ("工号###", "我的工号123", true),
  ])
  func `an app's own form is matched place by place`(form: String, text: String, isFound: Bool) {
    let matcher = PatternMatcher([], customs: [CustomForm(name: "own", form: form)])
    var copy = text
    let rule = copy.withUTF8 { matcher.match(UnsafeRawBufferPointer($0)) }
    #expect(rule?.word == (isFound ? "custom.own" : nil))
  }

  @Test func `any bytes at all are read to their end`() {
    var random = SeededRandom(seed: 7)
    let alphabet: [UInt8] = Array("0123456789aFx@.:-+ %".utf8) + [0, 0x80, 0xe4, 0xff]
    for _ in 0..<20_000 {
      let bytes = (0..<random.below(60)).map { _ in random.pick(alphabet) }
      let first = bytes.withUnsafeBytes { Self.all.match($0) }
      #expect(bytes.withUnsafeBytes { Self.all.match($0) } == first)
    }
  }

  @Test func `a set of users keeps what was said last`() {
    var random = SeededRandom(seed: 11)
    var states = UserStates()
    var model: [UInt64: Bool] = [:]
    let users = (0..<3_000).map { $0 < 3 ? UInt64($0) : random.next() & ~1 }
    for _ in 0..<20_000 {
      let user = random.pick(users)
      let granted = random.oneIn(2)
      states.set(user, granted: granted)
      // The lowest bit is not part of the key, and the two lowest keys are one.
      model[max(user & ~1, 2)] = granted
    }
    #expect(states.count == model.count)
    for user in users { #expect(states[user: user] == model[max(user & ~1, 2)]) }
    #expect(UserStates()[user: 5] == nil)
  }
}
