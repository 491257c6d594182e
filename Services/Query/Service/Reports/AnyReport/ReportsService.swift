import Foundation
package import Messages
package import RPC
import SwiftProtobuf

/// What can be done with any report.
package final class ReportsService: ReportsHandlers {
  private let runner: ReportRunner

  package init(runner: ReportRunner) { self.runner = runner }

  package func listUsers(
    _ request: ProtoListUsersRequest, context: CallContext
  ) async throws -> ProtoListUsersResponse {
    let question = try question(request.report)
    return try await runner.run(context, requestedApp: question.appID) { [runner] appID, control in
      let page = try UserPage(request)
      return page.response(
        try question.users(request.cell, runner.engine, appID: appID, control: control))
    }
  }

  package func exportCSV(
    _ request: ProtoReport, responses: ResponseWriter<ProtoCSVChunk>, context: CallContext
  ) async throws {
    let question = try question(request)
    try question.checkUse(of: context.principal)
    let bytes = try await runner.run(context, requestedApp: question.appID) {
      [runner] appID, control in
      try question.csv(runner.engine, appID: appID, control: control).bytes
    }
    for begin in stride(from: 0, to: bytes.count, by: Limits.csvChunkBytes) {
      var chunk = ProtoCSVChunk()
      chunk.data = Data(bytes[begin..<min(begin + Limits.csvChunkBytes, bytes.count)])
      try await responses.send(chunk)
    }
  }

  package func explain(
    _ request: ProtoReport, context: CallContext
  ) async throws -> ProtoExplainResponse {
    let question = try question(request)
    try question.checkUse(of: context.principal)
    let profile = QueryProfile()
    return try await runner.run(context, requestedApp: question.appID, profile: profile) {
      [runner] appID, control in
      let isRemembered = try runner.remembers(question, appID: appID)
      let begin = ContinuousClock.now
      let info = try control.operation("report", question.name) {
        try question.info(runner.engine, appID: appID, control: control)
      }
      return ProtoExplainResponse(
        profile, info, answerCached: isRemembered, total: .now - begin)
    }
  }

  private func question(_ report: ProtoReport) throws -> any ReportQuestion {
    do {
      return try report.question
    } catch {
      throw RPCError(.invalidArgument, error.description)
    }
  }
}
