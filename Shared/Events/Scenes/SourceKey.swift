/// The keys of `access_source_session_cnt` of WeChat's data API: 57 groups of scenes. The table is data:
/// Resources/sources.csv.
package enum SourceKey {
  /// What no other key claims.
  package static let other = 10

  package static let all = 1...57

  /// nil: there is no such key.
  package static func name(_ key: Int) -> LocalizedName? {
    all.contains(key) ? names[key - all.lowerBound] : nil
  }

  /// In the order of the keys.
  private static let names: [LocalizedName] = {
    do {
      let rows = try SceneTable.rows(of: PackageResources.sources_csv, columns: 3)
      precondition(rows.compactMap { Int($0[0]) } == Array(all), "the embedded keys have a gap")
      return rows.map { LocalizedName(english: $0[1], chinese: $0[2]) }
    } catch {
      preconditionFailure("the embedded table of sources is broken: \(error)")
    }
  }()
}
