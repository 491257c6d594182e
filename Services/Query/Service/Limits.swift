/// Every bound of the query service. Settings may lower some of them (`QueryConfiguration`).
package enum Limits {
  /// Days between the two dates of a range.
  static let rangeDaysMax = 3_660
  static let funnelStepsMin = 2
  static let funnelStepsMax = 20
  static let eventsPerStepMax = 20
  static let pathStepsMin = 2
  static let pathStepsMax = 10
  static let pathStepsDefault = 5
  /// Bits of the number of a node: ten of them fit into the widest key of a path.
  static let pathNodeBitsMax = 25
  /// Opens whose paths are told apart in one pass over all: as many different paths are remembered at most.
  static let pathOpensTogetherMax = 1 << 20
  static let windowMillisecondsMax: Int64 = 3_660 * 86_400_000
  static let windowMillisecondsDefault: Int64 = 86_400_000
  static let labelBytesMax = 256
  static let funnelExclusionsMax = 10
  static let heldFieldsMax = 3
  /// Users of a block of a funnel, the part that one thread does at a time: their state stays in a core's cache.
  static let funnelBlockUsersMax = 1 << 13
  /// Bytes of the days that a funnel holds at once, and of the states of users that wait for the next days.
  static let funnelHeldDaysBytesMax = 128 << 20
  static let funnelStateBytesMax = 64 << 20
  static let filterDepthMax = 8
  static let filterConditionsMax = 64
  static let filterGroupMax = 64
  static let inValuesMax = 1_000
  static let regexBytesMax = 256
  static let breakdownLimitMax = 1_000
  static let breakdownLimitDefault = 50
  /// Points of one answer, all series together: about 3 MiB, below the 4 MiB that gRPC clients take by default.
  static let answerPointsMax = 40_000
  /// Different values that a breakdown may meet before it is refused.
  static let breakdownValuesMax = 1_000_000

  /// Rows of events are kept where they are at most this part of a day's.
  static let rareEventShare = 8
  /// With what walks over users ask of them: where they are at most this part.
  static let foundRowsShare = 2
  /// Of an event analysis.
  static let eventSeriesMax = 10
  static let formulasMax = 10
  static let formulaBytesMax = 256
  static let groupFieldsMax = 3

  /// Of a retention.
  static let retentionKeysMax = 90
  static let retentionKeyMax = 366

  /// Of tiers, of stickiness and of repurchase.
  static let activeDaysMax = 365
  static let dormantDaysMax = 3_650
  static let stickinessDaysMax = 366
  static let gapClassesMax = 50

  /// Names of `$performance` events in one report.
  static let performanceMetricsMax = 100
  static let pagesMax = 10_000
  static let pagesDefault = 200
  static let sourcesDefault = 12
  static let sourcesMax = 1_000
  static let retentionDaysPerSourceMax = 10
  static let retentionDayMax = 90

  /// Days of a range that is cut into minutes, into hours.
  static let minuteDaysMax = 2
  static let hourDaysMax = 92

  /// Users that a walk over opens takes together, and bytes of what it remembers of them: about a processor's cache.
  static let walkBlockUsersMax = 1 << 13
  static let walkBlockBytesMax = 1 << 18
  /// Bytes of columns that a walk holds at a time beyond those that are cached anyway.
  static let walkBatchBytesMax = 48 << 20
  /// Bytes of what a walk remembers of users from one batch of days to the next; with more, it reads the days again for
  /// other users.
  static let walkStateBytesMax = 96 << 20

  /// Bytes of scratch memory that one query may hold, by its own count.
  static let queryBytesMax = 256 << 20
  /// Bytes of decoded days kept between queries.
  static let cacheBytesDefault = 448 << 20
  /// Days that a scan has read ahead.
  static let daysReadAhead = 4
  /// Bytes of what trends keep of days, beside their columns.
  static let trendTotalsBytesMax = 4 << 20
  /// Bytes of answers kept until the log goes on.
  static let answerBytesDefault = 8 << 20
  /// Bytes of one message of a CSV export.
  static let csvChunkBytes = 64 << 10
  /// Users of one page of a list.
  static let usersPerPageDefault = 1_000
  static let usersPerPageMax = 10_000
  /// Queries that run at a time, and that wait for a thread.
  static let threadsDefault = 2
  static let waitingQueriesMax = 256
  /// Rows between two looks at the deadline.
  static let rowsPerCheck = 1 << 16

  /// Rows of an unsealed buffer before a new one is begun: what a query may force to be copied.
  static let hotBufferRowsMax = 1 << 14
  /// Unsealed rows of an app at which a merge is begun.
  static let sealRows = 1 << 17
  /// The same while the log is far ahead: of days that it has gone past, so that none of them is written twice.
  static let sealRowsOfPastDays = 1 << 19
  /// Unsealed rows of all apps at which a merge is begun however many of them wait for others. The rest of `unsealedRowsMax` is for
  /// what comes while it runs.
  static let sealRowsAlways = unsealedRowsMax / 4 * 3
  /// A day that the log has not gone past is written where it has this part of the unsealed rows: too little else is there to
  /// write.
  static let partOfUnfinishedDayMax = 0.75
  /// What `--seal-rows` may ask for.
  static let sealRowsSettingMax = 1 << 20
  /// Rows of a day that a merge writes again for each new one, unless there is hardly room for more.
  static let rewrittenRowsPerRow = 6.0
  /// Bytes of columns that one transaction writes, about: the log waits for it.
  static let columnBytesPerTransaction = 1 << 20
  /// Bytes of a block of columns, unless one column has more: who reads one of them reads all of it.
  static let columnBlockBytes = 256 << 10
  /// A column of contexts may follow from one of so many different values, of so wide a span.
  static let followedValuesMax = 1 << 14
  static let followedSpanMax: UInt32 = 1 << 22
  /// Contexts for each one that may not be as the others are.
  static let contextsPerException = 64
  /// A sealed day is compressed once it has not been written for so long.
  static let compressAfterSecondsDefault = 60
  static let pagesGivenBackAtATime = 256
  /// Unsealed rows of all apps at which the log waits for the merge.
  static let unsealedRowsMax = 7 << 19
  /// A user's first active times are stored in chunks of this many users.
  static let usersPerChunk = 1 << 12
  /// Strings that one row of the file holds at most, where rows are put together, and their bytes as they are stored.
  static let dictionaryChunkStringsMax = 1 << 15
  static let dictionaryChunkBytesMax = 1 << 20
  /// A smaller one is not worth it.
  static let dictionaryChunkBytesCompressedMin = 1 << 12
  /// Before it is compressed.
  static let dictionaryChunkRawBytesMax = 64 << 20

  package static let rowsPerSegmentMax = Int(UInt32.max >> 1)
  /// Of Zstandard: more takes several times as long and gains little on large columns. Small ones can have it.
  static let compressionLevel: Int32 = 3
  static let thoroughCompressionLevel: Int32 = 19
  static let thoroughCompressionBytesMax = 512 << 10
  /// Columns within columns of one column of a segment.
  static let columnDepthMax = 6
  /// Bytes of a backup that are sent together.
  static let backupChunkBytes = 256 << 10

  static func assertRelations() {
    WalkedDay.assertCodes()
    precondition(pathStepsMax * pathNodeBitsMax <= WidePathKey.bitWidth)
    precondition(sealRows <= sealRowsAlways)
    precondition(sealRowsAlways < unsealedRowsMax && sealRowsOfPastDays < sealRowsAlways)
    precondition(sealRowsSettingMax <= sealRowsAlways)
    precondition(hotBufferRowsMax <= sealRows)
    precondition(funnelStepsMax <= 32, "a step is a bit of a 32-bit mask")
    precondition(funnelBlockUsersMax <= 1 << 27, "a hit of a funnel tells the block's user in 27 bits")
    precondition(breakdownLimitDefault <= breakdownLimitMax)
    precondition(gapClassesMax < 64, "a class of gaps is a bit of a 64-bit mask")
    precondition(eventSeriesMax <= 26, "a series without a name is a letter")
    precondition(ContextColumns.count <= 63, "which columns contexts have is a mask of 64 bits")
  }
}
