import Messages
import RPC

/// What may be changed about a token that is in use.
final class KeysService: KeysHandlers {
  private let ingest: IngestService

  init(_ ingest: IngestService) { self.ingest = ingest }

  func updateToken(
    _ request: ProtoUpdateTokenRequest, context: CallContext
  ) async throws -> ProtoToken {
    try await ingest.core.updateToken(request, now: ingest.now())
  }
}
