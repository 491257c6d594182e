package import Messages
package import RPC

/// The calls of ingest, over the domain in `IngestCore`.
package final class IngestService: IngestHandlers {
  let core: IngestCore
  /// ms since 1970.
  let now: @Sendable () -> Int64

  package init(
    core: IngestCore, now: @escaping @Sendable () -> Int64 = { WallClock.nowMilliseconds }
  ) {
    self.core = core
    self.now = now
  }

  /// What the server offers: this service, the log's, and those of the rest of ingest.
  package var services: [any ServiceHandlers] {
    [
      self, EventLogService(core: core, now: now), LogControlService(core: core, now: now),
      CompletenessService(core: core, now: now), PrivacyService(core: core, now: now),
      EventManagementService(core: core, now: now), KeysService(self),
      QuarantineService(core: core), SourcesService(core: core, now: now),
    ]
  }

  /// Serves subscribers' signs of life, until the log fails.
  ///
  /// - Throws: why the log cannot be written. Nothing is acknowledged any more, and the process must end.
  package func run() async throws { try await core.run() }

  /// Ends subscriptions, which would go on for ever; other calls finish.
  package func drain() { core.drain() }

  /// Writes what was taken, then closes the log.
  package func close() { core.close() }

  // MARK: Events

  /// A batch for which the queue has no room is refused before its bytes have come.
  package func gate(of method: MethodDescriptor) -> CallGate? {
    guard method.path == IngestMethods.collect.path else { return nil }
    return { [core] in core.queueState(bytes: Limits.usualBatchBytes, $0) }
  }

  package func collect(_ call: LoopCall) {
    let principal = call.principal
    if let refusal = core.refusal(bytes: call.message.count, principal) { return call.fail(refusal) }
    do throws(RPCError) {
      let batch = try core.collector.prepare(
        call.message, principal: principal, received: now())
      // Parked before it is queued: the writer may answer at once.
      let parked = call.park()
      do throws(RPCError) {
        try core.submit(batch, .call(parked), principal)
      } catch {
        parked.fail(error)
      }
    } catch {
      call.fail(error)
    }
  }

  package func getLogStatus(
    _ request: ProtoGetLogStatusRequest, context: CallContext
  ) async throws -> ProtoLogStatus {
    try await core.status(now: now())
  }

  // MARK: Apps

  package func createApp(
    _ request: ProtoCreateAppRequest, context: CallContext
  ) async throws -> ProtoApp {
    try await core.directory.createApp(request.app, now: now())
  }

  package func getApp(
    _ request: ProtoGetAppRequest, context: CallContext
  ) async throws -> ProtoApp {
    try await core.directory.app(request.appID)
  }

  package func listApps(
    _ request: ProtoListAppsRequest, context: CallContext
  ) async throws -> ProtoListAppsResponse {
    var response = ProtoListAppsResponse()
    response.apps = try await core.directory.listApps()
    return response
  }

  // MARK: Tokens

  package func createToken(
    _ request: ProtoCreateTokenRequest, context: CallContext
  ) async throws -> ProtoCreateTokenResponse {
    try await core.directory.createToken(request, now: now())
  }

  package func listTokens(
    _ request: ProtoListTokensRequest, context: CallContext
  ) async throws -> ProtoListTokensResponse {
    var response = ProtoListTokensResponse()
    response.tokens = try await core.directory.listTokens(appID: request.appID)
    return response
  }

  package func revokeToken(
    _ request: ProtoRevokeTokenRequest, context: CallContext
  ) async throws -> ProtoRevokeTokenResponse {
    try await core.directory.revokeToken(request.tokenID, now: now())
    return ProtoRevokeTokenResponse()
  }
}
