import Events

/// The scenes that an app's reports leave out, by the table in force. Rows hold whether their scene was left out when they
/// were received; the table may have changed since, so this decides anew, from the scene itself.
struct SceneExclusion: Sendable, Equatable {
  /// As the contexts' column holds them, ascending.
  let scenes: [UInt32]

  static let nothing = SceneExclusion(scenes: [])

  private init(scenes: [UInt32]) { self.scenes = scenes }

  init(_ sources: AppSources) {
    scenes = sources.scenes.excludedCodes.map { UInt32(clamping: $0) }
  }

  func holds(_ scene: UInt32) -> Bool {
    let index = scenes.partitioningIndex { $0 >= scene }
    return index < scenes.count && scenes[index] == scene
  }

  /// The scene's place in `ContextColumns`.
  static let column: Int = {
    guard let position = ContextColumns.position(.scene) else {
      preconditionFailure("the scene is in no column")
    }
    return position
  }()

  /// The flags of rows with the scene's part set anew. Cost: a search per context, a look-up per row.
  func flags(_ flags: [UInt8], _ context: [UInt32], _ contexts: ContextSet) -> [UInt8] {
    let scenes = stride(from: Self.column, to: contexts.words.count, by: ContextColumns.count)
      .map { contexts.words[$0] }
    return self.flags(flags, context, scenes: scenes)
  }

  /// - Parameter scenes: of each context.
  func flags(_ flags: [UInt8], _ context: [UInt32], scenes: [UInt32]) -> [UInt8] {
    let excluded = scenes.map { holds($0) ? RowFlags.excludedScene : 0 }
    return excluded.withUnsafeBufferPointer { excluded in
      flags.indices.map { row in
        flags[row] & ~RowFlags.excludedScene | excluded[Int(context[row])]
      }
    }
  }

  // MARK: In the file

  /// Four bytes per scene, little-endian.
  var bytes: [UInt8] {
    scenes.flatMap { scene in (0..<4).map { UInt8(truncatingIfNeeded: scene >> (8 * UInt32($0))) } }
  }

  /// nil: not what `bytes` wrote.
  init?(bytes: [UInt8]) {
    guard bytes.count % 4 == 0 else { return nil }
    scenes = stride(from: 0, to: bytes.count, by: 4).map { start in
      (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[start + $1]) << (8 * UInt32($1)) }
    }
  }
}

extension DayColumns {
  /// Makes the flags those of an exclusion.
  mutating func apply(_ exclusion: SceneExclusion) {
    guard self.exclusion != exclusion else { return }
    flags = exclusion.flags(flags, context, scenes: contexts.column(SceneExclusion.column))
    self.exclusion = exclusion
  }
}
