import Events
package import Messages
package import RPC

/// The calls about where events come from, over `SourceBook`.
package final class SourcesService: SourcesHandlers {
  private let book: SourceBook
  /// ms since 1970.
  private let now: @Sendable () -> Int64

  package init(core: IngestCore, now: @escaping @Sendable () -> Int64) {
    book = SourceBook(writer: core.writer, store: core.store)
    self.now = now
  }

  private func author(_ context: CallContext) -> SourceBook.Author {
    SourceBook.Author(tokenID: context.principal.tokenID, now: now())
  }

  // MARK: Scenes

  package func getSceneTable(
    _ request: ProtoGetSceneTableRequest, context: CallContext
  ) async throws -> ProtoSceneTable {
    var response = ProtoSceneTable()
    response.builtInVersion = Events.SceneTable.builtInVersion
    guard request.platform == .unspecified else {
      return try builtIn(request, response, context)
    }
    let found = try await book.sceneTable(
      context.appID(requested: request.appID),
      version: request.hasVersion ? request.version : nil)
    response.platform = found.platform
    response.version = found.version
    response.scenes = found.table.scenes.map { ProtoScene($0, platform: found.platform) }
    return response
  }

  private func builtIn(
    _ request: ProtoGetSceneTableRequest, _ response: ProtoSceneTable, _ context: CallContext
  ) throws -> ProtoSceneTable {
    // The built-in tables are no app's, but a request that names one must be the app's own.
    if !request.appID.isEmpty { _ = try context.appID(requested: request.appID) }
    if case .UNRECOGNIZED(let number) = request.platform {
      throw IngestErrors.invalid("platform", "must be WECHAT, ALIPAY or OTHER; got \(number)")
    }
    guard !request.hasVersion else {
      throw IngestErrors.invalid("version", "of an app's table only; got \(request.version) with a platform")
    }
    var response = response
    response.platform = request.platform
    response.scenes = Events.SceneTable.of(platform: SourceRules.name(request.platform)).scenes
      .map { ProtoScene($0, platform: request.platform) }
    return response
  }

  package func resolveScene(
    _ request: ProtoResolveSceneRequest, context: CallContext
  ) async throws -> ProtoResolveSceneResponse {
    let appID = try context.appID(requested: request.appID)
    try SourceRules.checkCode("code", request.code)
    let found = try await book.sceneTable(
      appID, version: request.hasVersion ? request.version : nil)
    let scene = found.table[code: Int(request.code)]
    var response = ProtoResolveSceneResponse()
    response.scene = ProtoScene(
      scene ?? Events.Scene(unknown: Int(request.code)), platform: found.platform)
    response.known = scene != nil
    response.version = found.version
    return response
  }

  package func resolve(
    _ request: ProtoResolveRequest, context: CallContext
  ) async throws -> ProtoResolveResponse {
    try await book.resolve(request, appID: context.appID(requested: request.appID))
  }

  package func setSceneOverrides(
    _ request: ProtoSetSceneOverridesRequest, context: CallContext
  ) async throws -> ProtoSceneVersion {
    try await book.setOverrides(
      request, appID: context.appID(requested: request.appID), author(context))
  }

  package func removeSceneOverrides(
    _ request: ProtoRemoveSceneOverridesRequest, context: CallContext
  ) async throws -> ProtoSceneVersion {
    try await book.removeOverrides(
      request, appID: context.appID(requested: request.appID), author(context))
  }

  package func listSceneOverrides(
    _ request: ProtoListSceneOverridesRequest, context: CallContext
  ) async throws -> ProtoListSceneOverridesResponse {
    try await book.sceneOverrides(
      context.appID(requested: request.appID), version: request.hasVersion ? request.version : nil)
  }

  package func listSceneVersions(
    _ request: ProtoListSceneVersionsRequest, context: CallContext
  ) async throws -> ProtoListSceneVersionsResponse {
    try await book.sceneVersions(
      context.appID(requested: request.appID), rows: SourceRules.pageRows(request.pageSize),
      before: request.pageToken)
  }

  // MARK: Channels

  package func setChannelGroups(
    _ request: ProtoSetChannelGroupsRequest, context: CallContext
  ) async throws -> ProtoChannelGroups {
    try await book.setChannelGroups(
      request, appID: context.appID(requested: request.appID), author(context))
  }

  package func getChannelGroups(
    _ request: ProtoGetChannelGroupsRequest, context: CallContext
  ) async throws -> ProtoGetChannelGroupsResponse {
    try await book.channelGroups(context.appID(requested: request.appID))
  }

  // MARK: QR codes

  package func registerQrCode(
    _ request: ProtoRegisterQrCodeRequest, context: CallContext
  ) async throws -> ProtoQrCode {
    try await book.register(
      request.qrCode, appID: context.appID(requested: request.appID), author(context))
  }

  package func updateQrCode(
    _ request: ProtoUpdateQrCodeRequest, context: CallContext
  ) async throws -> ProtoQrCode {
    try await book.update(
      request.qrCode, appID: context.appID(requested: request.appID), author(context))
  }

  package func archiveQrCode(
    _ request: ProtoArchiveQrCodeRequest, context: CallContext
  ) async throws -> ProtoQrCode {
    try await book.archive(
      request, appID: context.appID(requested: request.appID), author(context))
  }

  package func getQrCode(
    _ request: ProtoGetQrCodeRequest, context: CallContext
  ) async throws -> ProtoQrCode {
    try await book.qrCode(request.qrID, appID: context.appID(requested: request.appID))
  }

  package func listQrCodes(
    _ request: ProtoListQrCodesRequest, context: CallContext
  ) async throws -> ProtoListQrCodesResponse {
    try await book.qrCodes(
      context.appID(requested: request.appID), rows: SourceRules.pageRows(request.pageSize),
      after: request.pageToken, withArchived: request.includeArchived)
  }

  package func listUnregisteredQrCodes(
    _ request: ProtoListUnregisteredQrCodesRequest, context: CallContext
  ) async throws -> ProtoListUnregisteredQrCodesResponse {
    try await book.unregistered(
      context.appID(requested: request.appID), rows: SourceRules.pageRows(request.pageSize),
      after: request.pageToken)
  }

  // MARK: Campaigns

  package func registerCampaign(
    _ request: ProtoRegisterCampaignRequest, context: CallContext
  ) async throws -> ProtoCampaign {
    try await book.register(
      request.campaign, appID: context.appID(requested: request.appID), author(context))
  }

  package func updateCampaign(
    _ request: ProtoUpdateCampaignRequest, context: CallContext
  ) async throws -> ProtoCampaign {
    try await book.update(
      request.campaign, appID: context.appID(requested: request.appID), author(context))
  }

  package func archiveCampaign(
    _ request: ProtoArchiveCampaignRequest, context: CallContext
  ) async throws -> ProtoCampaign {
    try await book.archive(
      request, appID: context.appID(requested: request.appID), author(context))
  }

  package func getCampaign(
    _ request: ProtoGetCampaignRequest, context: CallContext
  ) async throws -> ProtoCampaign {
    try await book.campaign(request.campaignID, appID: context.appID(requested: request.appID))
  }

  package func listCampaigns(
    _ request: ProtoListCampaignsRequest, context: CallContext
  ) async throws -> ProtoListCampaignsResponse {
    try await book.campaigns(
      context.appID(requested: request.appID), rows: SourceRules.pageRows(request.pageSize),
      after: request.pageToken, withArchived: request.includeArchived)
  }

  // MARK: Links

  package func buildLink(
    _ request: ProtoBuildLinkRequest, context: CallContext
  ) async throws -> ProtoBuildLinkResponse {
    try await book.buildLink(request, appID: context.appID(requested: request.appID))
  }

  package func parseLink(
    _ request: ProtoParseLinkRequest, context: CallContext
  ) async throws -> ProtoParseLinkResponse {
    try await book.parseLink(request, appID: context.appID(requested: request.appID))
  }
}
