package import Messages
import RPC
import SwiftProtobuf

/// Plan as code.
extension EventManagement {
  package func export(_ appID: String) async throws -> ProtoExportPlanResponse {
    let document = try await read(appID) { rows in
      var document = ProtoPlanDocument()
      let plan = try rows.plan()
      document.mode = plan.mode
      document.pages = plan.pages
      document.events = try rows.events().compactMap { EffectiveEvent($0)?.document }
      return document
    }
    var answer = ProtoExportPlanResponse()
    answer.text = try PlanDocumentText.write(document)
    return answer
  }

  package func apply(_ request: ProtoApplyPlanRequest, _ caller: PlanCaller) async throws
    -> ProtoApplyPlanResponse
  {
    let document = PlanDocumentText.normalized(try PlanDocumentText.read(request.text))
    let app = try app(caller.appID)
    guard !request.dryRun else {
      return try await read(caller.appID) { rows in
        Self.answer(try Self.application(of: document, rows, app, now: caller.now), applied: false)
      }
    }
    return try await change(caller) { transaction in
      let application = try Self.application(
        of: document, transaction.rows, app, now: transaction.now)
      guard application.violations.isEmpty else {
        throw PlanErrors.refused(application.violations)
      }
      try Self.carryOut(application, transaction)
      return Self.answer(application, applied: true)
    }
  }

  private static func application(
    of document: ProtoPlanDocument, _ rows: PlanRows, _ app: AppEntry, now: Int64
  ) throws -> PlanApplication {
    PlanApplication(
      document, plan: try rows.plan(), events: try rows.events(), now: now,
      decided: { app.decidedTypes(of: $0) })
  }

  private static func carryOut(
    _ application: PlanApplication, _ transaction: PlanTransaction
  ) throws {
    let events = application.steps.compactMap(\.event)
    try transaction.decideTypes(events.compactMap { $0.hasPublished ? $0.published : nil })
    transaction.put(mode: application.document.mode, pages: application.document.pages)
    for step in application.steps {
      guard let event = step.event else { continue }
      _ = try transaction.put(event, action: "apply", details: step.difference.details)
      // It has passed every check: it can be tested or published as it is.
      if event.state == .checked { try transaction.remember(checked: event.definition) }
    }
  }

  private static func answer(
    _ application: PlanApplication, applied: Bool
  ) -> ProtoApplyPlanResponse {
    var answer = ProtoApplyPlanResponse()
    answer.differences = application.steps.map(\.difference)
    answer.violations = application.violations
    answer.applied = applied
    return answer
  }
}
