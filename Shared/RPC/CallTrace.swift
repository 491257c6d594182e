/// Where a call stands in a chain of calls: W3C Trace Context, level 1, version 00.
package struct CallTrace: Sendable, Equatable {
  /// 16 bytes, the same for the whole chain.
  package let high: UInt64
  package let low: UInt64
  /// 8 bytes, of this call alone.
  package let span: UInt64
  /// Bit 0: whoever began the chain records it.
  package let flags: UInt8

  package init(high: UInt64, low: UInt64, span: UInt64, flags: UInt8) {
    self.high = high
    self.low = low
    self.span = span
    self.flags = flags
  }

  /// `00-<32 hex>-<16 hex>-<2 hex>`, lower case, ids not zero. nil where it is anything else: the chain then begins anew.
  package init?(traceparent bytes: UnsafeRawBufferPointer) {
    guard bytes.count == 55, bytes[0] == 0x30, bytes[1] == 0x30,
      [2, 35, 52].allSatisfy({ bytes[$0] == UInt8(ascii: "-") }),
      let high = Hexadecimal.number(bytes, 3, 16), let low = Hexadecimal.number(bytes, 19, 16),
      let span = Hexadecimal.number(bytes, 36, 16), let flags = Hexadecimal.number(bytes, 53, 2),
      high | low != 0, span != 0
    else { return nil }
    self.init(high: high, low: low, span: span, flags: UInt8(flags))
  }

  package var traceID: String { Hexadecimal.text(high, 16) + Hexadecimal.text(low, 16) }

  /// What a call made under this one sends.
  package var traceparent: String {
    "00-\(traceID)-\(Hexadecimal.text(span, 16))-\(Hexadecimal.text(UInt64(flags), 2))"
  }
}

/// A name for one call, the caller's or ours: header `x-request-id`.
package enum RequestID {
  package static let header = "x-request-id"
  package static let traceHeader = "traceparent"
  package static let bytesMax = 128

  /// Printable ASCII without space, quotes and backslash, so that it can stand in any log as it is.
  package static func isValid(_ bytes: some Collection<UInt8>) -> Bool {
    (1...bytesMax).contains(bytes.count)
      && bytes.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x22 && $0 != 0x27 && $0 != 0x5C }
  }
}

/// Numbers for the names that we give to a call: always the same for the same call, so that nothing needs to be kept and nothing
/// is computed unless it is asked for.
package struct CallSeed: Sendable, Equatable {
  private let a: UInt64
  private let b: UInt64

  /// From the system's generator.
  package init() {
    a = UInt64.random(in: .min ... .max)
    b = UInt64.random(in: .min ... .max)
  }

  private init(a: UInt64, b: UInt64) {
    self.a = a
    self.b = b
  }

  /// The seed of a connection's call.
  func call(_ streamID: Int32) -> CallSeed {
    CallSeed(a: a, b: Self.mix(b ^ UInt64(UInt32(bitPattern: streamID))))
  }

  /// A name for the call, where the caller gave none: 32 hexadecimal digits.
  package var requestID: String {
    Hexadecimal.text(Self.mix(a &+ b), 16) + Hexadecimal.text(Self.mix(a ^ b), 16)
  }

  /// The call's place: in the caller's chain, or the first of a new one.
  package func trace(under parent: CallTrace?) -> CallTrace {
    CallTrace(
      high: parent?.high ?? Self.mix(a &+ b &* 3), low: parent?.low ?? Self.mix(a &- b),
      span: max(1, Self.mix(b &- a)), flags: parent?.flags ?? 0)
  }

  /// A number that decides whether the call is among those to be logged.
  @inline(__always)
  var sample: UInt64 { Self.mix(b) }

  /// The finisher of SplitMix64: every bit of the input changes half of the output's.
  @inline(__always)
  private static func mix(_ value: UInt64) -> UInt64 {
    var mixed = value &+ 0x9E37_79B9_7F4A_7C15
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}

extension Metadata {
  /// Names the call under whose handler another is made, so that both can be found together. What is there already stays.
  package mutating func carryOn(_ context: CallContext?) {
    guard let context else { return }
    if self[RequestID.header] == nil { add(RequestID.header, context.requestID) }
    if self[RequestID.traceHeader] == nil { add(RequestID.traceHeader, context.trace.traceparent) }
  }
}

private enum Hexadecimal {
  private static let digits = Array("0123456789abcdef".utf8)

  static func text(_ number: UInt64, _ count: Int) -> String {
    String(unsafeUninitializedCapacity: count) { room in
      for index in 0..<count {
        room[index] = digits[Int(number >> UInt64((count - 1 - index) * 4) & 15)]
      }
      return count
    }
  }

  /// Lower case only.
  static func number(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ count: Int) -> UInt64? {
    var number: UInt64 = 0
    for byte in bytes[start..<(start + count)] {
      switch byte {
      case 0x30...0x39: number = number << 4 | UInt64(byte - 0x30)
      case 0x61...0x66: number = number << 4 | UInt64(byte - 0x61 + 10)
      default: return nil
      }
    }
    return number
  }
}
