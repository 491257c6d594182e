/// The scenes of one platform, or of one app after its overrides. The same number means another thing on another platform,
/// so a table belongs to one. The built-in tables are data: Resources/scenes.csv.
package struct SceneTable: Sendable, Equatable {
  /// Of the built-in data: raise it with every change of Resources/scenes.csv.
  package static let builtInVersion: UInt32 = 1

  /// The source of a scene that the table does not have: `other`.
  package static let otherSourceKey = SourceKey.other

  package static let wechat = builtIn("wechat")
  private static let alipay = builtIn("alipay")
  /// Other platforms have no table: every scene is of the source `other`, none is excluded.
  private static let none = SceneTable(scenes: [])

  private static func builtIn(_ platform: String) -> SceneTable {
    do {
      return try SceneTable(platform: platform, csv: PackageResources.scenes_csv)
    } catch {
      preconditionFailure("the embedded table of scenes is broken: \(error)")
    }
  }

  package static func of(platform: String) -> SceneTable {
    switch platform {
    case "wechat": wechat
    case "alipay": alipay
    default: none
    }
  }

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

  /// - Parameter csv:
  ///   `platform,code,source_key,name_en,name_zh,channel,channel_detail,excluded_by_default` with a heading; no quoting.
  package init(platform: String, csv: [UInt8]) throws(BrokenLine) {
    var scenes: [Scene] = []
    for (index, columns) in try Self.rows(of: csv, columns: 8).enumerated() {
      guard let code = Int(columns[1]), let source = Int(columns[2]) else {
        throw BrokenLine(number: index + 2, text: columns.joined(separator: ","))
      }
      guard columns[0] == platform else { continue }
      scenes.append(
        Scene(
          code: code, sourceKey: source,
          name: LocalizedName(english: columns[3], chinese: columns[4]), channel: columns[5],
          channelDetail: columns[6], excludedBecause: columns[7]))
    }
    self.init(scenes: scenes)
  }

  /// The lines behind the heading.
  static func rows(of csv: [UInt8], columns: Int) throws(BrokenLine) -> [[String]] {
    var rows: [[String]] = []
    for (index, bytes) in csv.split(separator: 0x0a).enumerated().dropFirst() {
      let line = String(decoding: bytes.last == 0x0d ? bytes.dropLast() : bytes, as: UTF8.self)
      let row = line.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
      guard row.count == columns else { throw BrokenLine(number: index + 1, text: line) }
      rows.append(row)
    }
    return rows
  }

  /// The table with an app's changes. Of two overrides of one code the later one holds.
  package func applying(_ overrides: [SceneOverride]) -> SceneTable {
    guard !overrides.isEmpty else { return self }
    var byCode = Dictionary(uniqueKeysWithValues: scenes.map { ($0.code, $0) })
    for override in overrides {
      // From the built-in row each time: what an override does not say stays as built in.
      byCode[override.code] = override.applied(
        to: self[code: override.code] ?? Scene(unknown: override.code))
    }
    return SceneTable(scenes: Array(byCode.values))
  }

  /// nil: the table does not have it.
  package subscript(code code: Int) -> Scene? { indexByCode[code].map { scenes[$0] } }

  package func sourceKey(_ code: Int) -> Int { self[code: code]?.sourceKey ?? SourceKey.other }

  /// Cost: one hash.
  package func isExcluded(_ code: Int) -> Bool { self[code: code]?.isExcluded ?? false }

  /// The scenes that reports leave out, ascending.
  package var excludedCodes: [Int] { scenes.filter(\.isExcluded).map(\.code) }
}
