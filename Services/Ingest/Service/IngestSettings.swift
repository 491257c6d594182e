package import ServiceKit

/// What can be set about ingest beyond what every service has.
package enum IngestSettings {
  package static let cachedDevicesMax = Setting<Int>.integer(
    "cached-devices-max", default: Limits.cachedDevicesMax, in: 1_024...1_000_000,
    unit: "devices", help: "Devices whose sequence numbers stay in memory, about 850 bytes each.")
  package static let logMebibytesMax = Setting<Int>.integer(
    "log-mib-max", default: 0, in: 0...16_777_216, unit: "MiB",
    help: "The log takes no more events at this size of its file. 0: no bound but the disk's.")

  package static let ledgerDays = Setting<Int>.integer(
    "ledger-days", default: Limits.ledgerDays, in: 1...3_660, unit: "days",
    help: "Days of receipt that the completeness ledger keeps.")

  package static let all = [
    cachedDevicesMax.definition, logMebibytesMax.definition, ledgerDays.definition,
  ]
}
