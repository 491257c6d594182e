import Foundation
import FuzzEntries
import Testing

/// The kept inputs of the fuzzers, and what breaks when they or their neighbours are cut or changed. One at a time: the entries
/// share memory as the connections of one loop do.
@Suite(.serialized) struct FuzzReplayTests {
  private static let corpus = URL(filePath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "corpus")

  private static func inputs(_ target: FuzzTarget) throws -> [[UInt8]] {
    let folder = corpus.appending(path: target.rawValue)
    return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
      .sorted { $0.path < $1.path }
      .map { [UInt8](try Data(contentsOf: $0)) }
  }

  @Test(arguments: FuzzTarget.allCases)
  func `every kept input keeps the promises`(_ target: FuzzTarget) throws {
    let inputs = try Self.inputs(target)
    try #require(!inputs.isEmpty)
    for input in inputs { input.withUnsafeBytes { target.run($0) } }
  }

  @Test(arguments: FuzzTarget.allCases)
  func `kept inputs changed at random keep the promises`(_ target: FuzzTarget) throws {
    let seed = UInt64.random(in: 0...UInt64.max)
    // Printed where the process dies, which a broken promise makes it do.
    FileHandle.standardError.write(Data("fuzz: \(target.rawValue), seed \(seed)\n".utf8))
    var random = SplitMix(state: seed)
    let inputs = try Self.inputs(target)
    for _ in 0..<5_000 {
      guard var input = inputs.randomElement(using: &random) else { return }
      for _ in 0..<Int.random(in: 1...4, using: &random) { Self.change(&input, &random) }
      input.withUnsafeBytes { target.run($0) }
    }
  }

  private static func change(_ input: inout [UInt8], _ random: inout SplitMix) {
    let at = Int.random(in: 0...input.count, using: &random)
    switch Int.random(in: 0...3, using: &random) {
    case 0: input.insert(UInt8.random(in: 0...255, using: &random), at: at)
    case 1: input.removeSubrange(at..<min(input.count, at + Int.random(in: 0...8, using: &random)))
    case 2 where at < input.count: input[at] = UInt8.random(in: 0...255, using: &random)
    default: input.insert(contentsOf: input[..<at].suffix(16), at: at)
    }
  }
}

/// Random numbers that a seed repeats.
private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return mixed ^ mixed >> 31
  }
}
