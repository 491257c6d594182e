/// What a scene code says about how an open came: its source, and whether its events are left out of reports (SEMANTICS 1
/// and 2). The table is data: Resources/scenes.wechat.csv, whose source keys are those of WeChat's data API.
package struct SceneTable: Sendable {
  package struct Scene: Sendable, Equatable {
    /// The code, such as 1129.
    package let code: Int
    /// The key under which WeChat's data API reports it, such as 10.
    package let sourceKey: Int
    package let chinese: String
    package let english: String
    /// Why its events are left out of reports: `crawler`, `load test` ... Empty: they are not.
    package let excludedBecause: String
    package var isExcluded: Bool { !excludedBecause.isEmpty }
  }

  /// The source of a scene that the table does not have: `other`.
  package static let otherSourceKey = 10

  /// Of the platform `wechat`. Other platforms have no table: every scene is of the source `other`, none is excluded.
  package static let wechat: SceneTable = {
    do {
      return try SceneTable(platform: "wechat", csv: PackageResources.scenes_wechat_csv)
    } catch {
      preconditionFailure("the embedded table of scenes is broken: \(error)")
    }
  }()

  private static let none = SceneTable(scenes: [])

  package static func of(platform: String) -> SceneTable { platform == "wechat" ? wechat : none }

  /// A line of the table that cannot be read.
  package struct BrokenLine: Error, CustomStringConvertible {
    let number: Int
    let text: String
    package var description: String { "line \(number): \(text)" }
  }

  /// In the order of their codes.
  package let scenes: [Scene]
  private let indexByCode: [Int: Int]

  init(scenes: [Scene]) {
    self.scenes = scenes.sorted { $0.code < $1.code }
    indexByCode = Dictionary(
      self.scenes.enumerated().map { ($1.code, $0) }, uniquingKeysWith: { first, _ in first })
  }

  /// - Parameter csv: `platform,scene,source_key,source_zh,source_en,excluded_by_default` with a heading; no quoting.
  package init(platform: String, csv: [UInt8]) throws(BrokenLine) {
    var scenes: [Scene] = []
    for (index, bytes) in csv.split(separator: 0x0a).enumerated().dropFirst() {
      let line = String(decoding: bytes.last == 0x0d ? bytes.dropLast() : bytes, as: UTF8.self)
      let columns = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard columns.count == 6, let code = Int(columns[1]), let source = Int(columns[2]) else {
        throw BrokenLine(number: index + 1, text: line)
      }
      guard columns[0] == platform else { continue }
      scenes.append(
        Scene(
          code: code, sourceKey: source, chinese: columns[3], english: columns[4],
          excludedBecause: columns[5]))
    }
    self.init(scenes: scenes)
  }

  /// nil: the table does not have it.
  package subscript(code code: Int) -> Scene? { indexByCode[code].map { scenes[$0] } }

  package func sourceKey(_ code: Int) -> Int { self[code: code]?.sourceKey ?? Self.otherSourceKey }

  /// Cost: one hash.
  package func isExcluded(_ code: Int) -> Bool { self[code: code]?.isExcluded ?? false }

  /// The scenes that reports leave out.
  package var excludedCodes: [Int] { scenes.filter(\.isExcluded).map(\.code) }
}
