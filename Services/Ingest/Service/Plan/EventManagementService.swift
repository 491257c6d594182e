package import Messages
package import RPC
import SwiftProtobuf

/// The calls of event management, over the domain in `EventManagement`.
package final class EventManagementService: EventManagementHandlers {
  private let core: IngestCore
  private var plans: EventManagement { core.plans }
  /// ms since 1970.
  private let now: @Sendable () -> Int64

  package init(core: IngestCore, now: @escaping @Sendable () -> Int64) {
    self.core = core
    self.now = now
  }

  private func caller(_ appID: String, _ context: CallContext) throws(RPCError) -> PlanCaller {
    PlanCaller(
      appID: try context.appID(requested: appID), tokenID: context.principal.tokenID, now: now())
  }

  // MARK: Plan

  package func getPlan(_ request: ProtoGetPlanRequest, context: CallContext) async throws
    -> ProtoAppPlan
  {
    try await plans.plan(try context.appID(requested: request.appID))
  }

  package func setPlanMode(
    _ request: ProtoSetPlanModeRequest, context: CallContext
  ) async throws -> ProtoAppPlan {
    try await plans.setMode(request.mode, try caller(request.appID, context))
  }

  package func setPages(_ request: ProtoSetPagesRequest, context: CallContext) async throws
    -> ProtoAppPlan
  {
    try await plans.setPages(request.pages, try caller(request.appID, context))
  }

  package func listDefaultFields(
    _ request: ProtoListDefaultFieldsRequest, context: CallContext
  ) async throws -> ProtoListDefaultFieldsResponse {
    .with { $0.fields = DefaultFields.rows }
  }

  // MARK: Events

  package func checkFields(
    _ request: ProtoCheckFieldsRequest, context: CallContext
  ) async throws -> ProtoCheckFieldsResponse {
    try await plans.checkFields(request.definition, try caller(request.appID, context))
  }

  package func saveEvent(
    _ request: ProtoSaveEventRequest, context: CallContext
  ) async throws -> ProtoPlannedEvent {
    try await plans.save(
      request.definition, .keep, expectedRevision: request.expectedRevision,
      try caller(request.appID, context))
  }

  package func saveAndTest(
    _ request: ProtoSaveAndTestRequest, context: CallContext
  ) async throws -> ProtoPlannedEvent {
    try await plans.save(
      request.definition, .test(request.testUsers), expectedRevision: request.expectedRevision,
      try caller(request.appID, context))
  }

  package func saveAndPublish(
    _ request: ProtoSaveEventRequest, context: CallContext
  ) async throws -> ProtoPlannedEvent {
    try await plans.save(
      request.definition, .publish, expectedRevision: request.expectedRevision,
      try caller(request.appID, context))
  }

  package func archiveEvent(
    _ request: ProtoArchiveEventRequest, context: CallContext
  ) async throws -> ProtoPlannedEvent {
    try await plans.archive(request.name, try caller(request.appID, context))
  }

  package func getEvent(
    _ request: ProtoGetEventRequest, context: CallContext
  ) async throws -> ProtoGetEventResponse {
    try await plans.event(request, try context.appID(requested: request.appID))
  }

  package func listEvents(
    _ request: ProtoListEventsRequest, context: CallContext
  ) async throws -> ProtoListEventsResponse {
    try await plans.list(request, try context.appID(requested: request.appID))
  }

  // MARK: Test users, SDKs

  package func watchTest(
    _ request: ProtoWatchTestRequest, responses: ResponseWriter<ProtoWatchTestResponse>,
    context: CallContext
  ) async throws {
    let app = try plans.app(try context.appID(requested: request.appID))
    guard request.name.isEmpty || DefinitionCheck.isCustomName(request.name) else {
      throw IngestErrors.invalid("name", "must match ^[a-z][a-z0-9_]{0,31}$, or be empty")
    }
    guard core.watchers.enter() else {
      throw IngestErrors.full("calls of WatchTest", max: Limits.Plan.watchersMax)
    }
    defer { core.watchers.leave() }
    let (id, wakes) = app.tracking.feed.watch()
    defer { app.tracking.feed.leave(id) }
    var last: UInt64 = 0
    var isFirst = true
    for await _ in wakes {
      guard !core.isDraining else { break }
      let (found, missed, newest) = app.tracking.feed.observations(after: last, name: request.name)
      last = newest
      guard isFirst || !found.isEmpty || missed > 0 else { continue }
      isFirst = false
      try await responses.send(
        .with {
          $0.observations = found
          $0.missed = missed
        })
    }
    throw Task.isCancelled
      ? RPCError(.cancelled, "the call was cancelled") : IngestErrors.shuttingDown
  }

  package func getTrackingConfig(
    _ request: ProtoGetTrackingConfigRequest, call: LoopCall
  ) throws -> ProtoTrackingConfig {
    try plans.trackingConfig(request, try call.principal.appID(requested: request.appID))
  }

  // MARK: Plan as code

  package func exportPlan(
    _ request: ProtoExportPlanRequest, context: CallContext
  ) async throws -> ProtoExportPlanResponse {
    try await plans.export(try context.appID(requested: request.appID))
  }

  package func applyPlan(
    _ request: ProtoApplyPlanRequest, context: CallContext
  ) async throws -> ProtoApplyPlanResponse {
    try await plans.apply(request, try caller(request.appID, context))
  }

  package func getCoverage(
    _ request: ProtoGetCoverageRequest, context: CallContext
  ) async throws -> ProtoCoverage {
    try await plans.coverage(try context.appID(requested: request.appID))
  }
}
