package import Messages
package import RPC
internal import SwiftProtobuf

/// `grpc.health.v1.Health` over a `HealthBoard`.
package struct HealthService: Grpc_Health_V1_HealthHandlers {
  private let board: HealthBoard

  package init(board: HealthBoard) { self.board = board }

  package func check(
    _ request: Grpc_Health_V1_HealthCheckRequest, context: CallContext
  ) async throws -> Grpc_Health_V1_HealthCheckResponse {
    guard let status = board.status(of: request.service) else {
      throw RPCError(.notFound, "service: \"\(request.service)\" is not offered here")
    }
    return .with { $0.status = status }
  }

  package func list(
    _ request: Grpc_Health_V1_HealthListRequest, context: CallContext
  ) async throws -> Grpc_Health_V1_HealthListResponse {
    let statuses = board.all.mapValues { status in
      Grpc_Health_V1_HealthCheckResponse.with { $0.status = status }
    }
    return .with { $0.statuses = statuses }
  }

  package func watch(
    _ request: Grpc_Health_V1_HealthCheckRequest,
    responses: ResponseWriter<Grpc_Health_V1_HealthCheckResponse>, context: CallContext
  ) async throws {
    var last: HealthBoard.Status?
    for await status in try board.watch(request.service) where status != last {
      last = status
      try await responses.send(.with { $0.status = status })
    }
  }
}
