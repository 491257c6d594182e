/// What a token may hold.
package enum Scope {
  package static let admin = "admin"
  package static let ingestWrite = "ingest:write"
  package static let ingestImport = "ingest:import"
  /// Event management and the tracking plan of an app.
  package static let planRead = "plan:read"
  package static let planWrite = "plan:write"
  package static let profileRead = "profile:read"
  package static let profileWrite = "profile:write"
  package static let profileErase = "profile:erase"
  package static let queryRead = "query:read"
  /// The users behind a number of a report, and `open_id` in breakdowns and filters.
  package static let queryUsers = "query:users"
  package static let liveRead = "live:read"
  package static let eventsRead = "events:read"

  /// Every scope, in the order of the documents. `admin` holds all others.
  package static let all = [
    ingestWrite, ingestImport, planRead, planWrite, profileRead, profileWrite, profileErase,
    queryRead, queryUsers, liveRead, eventsRead, admin,
  ]
}
