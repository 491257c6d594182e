package import ServiceKit

/// What can be set about ingest beyond what every service has.
package enum IngestSettings {
  package static let cachedDevicesMax = Setting<Int>.integer(
    "cached-devices-max", default: Limits.cachedDevicesMax, in: 16...1_000_000,
    unit: "devices", help: "Devices whose sequence numbers stay in memory, about 900 bytes each.")
  package static let eventIDDays = Setting<Int>.integer(
    "event-id-days", default: Limits.eventIDDays, in: Limits.eventIDDays...400, unit: "days",
    help:
      "The id of an event without a number is remembered for so long after its receipt; at least a day more than the app's lateness bound."
  )
  package static let importIDDays = Setting<Int>.integer(
    "import-id-days", default: Limits.importIDDays, in: Limits.eventIDDays...3_650, unit: "days",
    help: "The same for events of an import; at least event-id-days.")
  package static let eventIDsMax = Setting<Int>.integer(
    "event-ids-max", default: Limits.eventIDsMax, in: 100_000...1_000_000_000, unit: "ids",
    help: "With so many ids remembered, batches that carry ids are refused; about 7 bytes of memory each.")
  package static let logMebibytesMax = Setting<Int>.integer(
    "log-mib-max", default: 0, in: 0...16_777_216, unit: "MiB",
    help: "The log takes no more events at this size of its file. 0: no bound but the disk's.")
  package static let quarantineEventsMax = Setting<Int>.integer(
    "quarantine-events-max", default: Limits.quarantineEventsMax, in: 1...10_000_000, unit: "events",
    help: "Events of one app that are kept aside. Beyond it the oldest are dropped, and counted.")
  package static let quarantineMebibytesMax = Setting<Int>.integer(
    "quarantine-mib-max", default: Limits.quarantineBytesMax >> 20, in: 1...1_048_576, unit: "MiB",
    help: "The same in bytes of their requests.")

  package static let ledgerDays = Setting<Int>.integer(
    "ledger-days", default: Limits.ledgerDays, in: 1...3_660, unit: "days",
    help: "Days of receipt that the completeness ledger keeps.")

  package static let keepDays = Setting<Int>.integer(
    "log-keep-days", default: 0, in: 0...36_500, unit: "days",
    help: """
      Records are removed when they are older and every subscriber has applied them. 0: none for their age.
      """)
  package static let keepMebibytes = Setting<Int>.integer(
    "log-keep-mib", default: 0, in: 0...16_777_216, unit: "MiB",
    help: """
      The oldest records are removed beyond this much payload, once every subscriber has applied them. 0: none for their size.
      """)
  package static let awayHours = Setting<Int>.integer(
    "subscriber-away-hours", default: 168, in: 1...876_000, unit: "hours",
    help: "Retention does not wait for a subscriber that was not connected for longer.")
  package static let scrubMebibytes = Setting<Int>.integer(
    "log-scrub-mib-per-second", default: 1, in: 0...1_024, unit: "MiB/s",
    help: "The log is read in the background at this rate and its checksums are compared. 0: never.")

  package static let all = [
    cachedDevicesMax.definition, eventIDDays.definition, importIDDays.definition,
    eventIDsMax.definition, logMebibytesMax.definition, ledgerDays.definition,
    keepDays.definition,
    keepMebibytes.definition, awayHours.definition, scrubMebibytes.definition,
    quarantineEventsMax.definition, quarantineMebibytesMax.definition,
  ]

  package static func dedup(_ settings: Settings) -> DedupOptions {
    let live = settings[eventIDDays]
    return DedupOptions(
      cachedDevicesMax: settings[cachedDevicesMax],
      idDays: EventIDDays(live: live, imported: max(live, settings[importIDDays])),
      eventIDsMax: settings[eventIDsMax])
  }

  package static func policy(_ settings: Settings) -> LogPolicy {
    LogPolicy(
      keepMilliseconds: Int64(settings[keepDays]) * 86_400_000,
      keepBytes: Int64(settings[keepMebibytes]) << 20,
      awayMilliseconds: Int64(settings[awayHours]) * 3_600_000,
      scrubBytesPerSecond: settings[scrubMebibytes] << 20)
  }
}
