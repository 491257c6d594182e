import Store
import Synchronization

/// What a merge has made, not yet in force.
struct MergeOutcome {
  /// What stays unsealed.
  let rest: RestOfRows
  var written: [Segment] = []
  /// Segments in whose place no other comes.
  var gone: [Segment]
  /// What the days use of the dictionaries, where users were erased.
  var sweep: DictionarySweep?
}

extension QueryEngine {
  /// Marks what the days that stay use of the dictionaries. Cost: reads all of them.
  func sweep(
    _ begun: DictionarySweep, _ work: MergeWork, _ outcome: MergeOutcome
  ) throws -> DictionarySweep {
    var sweep = begun
    let replaced = Set(outcome.written.map(\.day) + outcome.gone.map(\.day))
    let kept = work.segments.values.filter { !replaced.contains($0.day) }
    for segment in kept + outcome.written {
      let day = try store.read {
        try DayLoader.load(segment, DayNeeds(allFields: true), from: $0)
      }
      sweep.mark(day, textFields: work.textFields)
    }
    return sweep
  }

  /// Erases strings that nothing uses, not what has come since the merge began either. Nobody applies the log meanwhile, for
  /// this has the writing connection; rows that are committed but not yet shown are still pending.
  func eraseUnused(
    _ sweep: DictionarySweep, _ work: MergeWork, _ rest: RestOfRows, _ app: AppState,
    _ connection: StoreConnection
  ) throws -> [DictionaryKind: [UInt32]] {
    let found = app.tables.withLock { tables -> [DictionaryKind: ([UInt32], ByteDictionary)] in
      var sweep = sweep
      let textFields = DictionarySweep.textFields(tables)
      let later = tables.frozen.dropFirst(work.buffers.count).map(\.rows)
      for rows in rest.buffers.map(\.rows) + later + [tables.tail, tables.pending] {
        sweep.mark(rows, textFields: textFields)
      }
      var found: [DictionaryKind: ([UInt32], ByteDictionary)] = [:]
      for kind in DictionarySweep.kinds {
        let codes = sweep.unused(kind).filter { code in
          tables[kind].withBytes(code) { !$0.isEmpty }
        }
        // From here on the same string gets a new code, and keeps it where this is not committed after all.
        tables[kind].hide(codes)
        found[kind] = (codes, tables[kind])
      }
      return found
    }
    for (kind, (codes, strings)) in found {
      try EngineFile.rewriteEntries(app.id, kind, codes, of: strings, in: connection)
    }
    return found.mapValues(\.0)
  }
}
