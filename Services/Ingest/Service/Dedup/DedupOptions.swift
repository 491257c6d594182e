/// How much deduplication keeps, and for how long.
package struct DedupOptions: Sendable {
  /// Devices whose windows are in memory.
  package var cachedDevicesMax: Int
  package var idDays: EventIDDays
  /// With so many ids remembered, no more are taken.
  package var eventIDsMax: Int

  package init(
    cachedDevicesMax: Int = Limits.cachedDevicesMax, idDays: EventIDDays = EventIDDays(),
    eventIDsMax: Int = Limits.eventIDsMax
  ) {
    precondition(cachedDevicesMax > 0 && eventIDsMax > 0)
    self.cachedDevicesMax = cachedDevicesMax
    self.idDays = idDays
    self.eventIDsMax = eventIDsMax
  }
}
