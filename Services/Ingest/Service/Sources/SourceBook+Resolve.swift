import Events
import Messages
import RPC
import Store

extension SourceBook {
  /// Where an event came from.
  func resolve(_ request: ProtoResolveRequest, appID: String) async throws -> ProtoResolveResponse {
    guard request.scene <= EventLimits.sceneMax else {
      throw IngestErrors.invalid(
        "scene", "from 0 to \(EventLimits.sceneMax); got \(request.scene)")
    }
    for (field, text) in [
      ("qr_id", request.qrID), ("campaign_source", request.campaignSource),
      ("campaign_medium", request.campaignMedium), ("campaign_name", request.campaignName),
    ] {
      try SourceRules.checkText(field, text, max: EventLimits.contextTextBytesMax)
    }
    return try await read(appID) { app, connection in
      let sources = try Self.sources(app, connection)
      var response = ProtoResolveResponse()
      if request.scene > 0 {
        let known = sources.scenes[code: Int(request.scene)]
        response.sceneKnown = known != nil
        response.scene = ProtoScene(
          known ?? Events.Scene(unknown: Int(request.scene)), platform: app.platform)
      }
      response.channel = sources.channel(
        of: ChannelInput(
          scene: Int(request.scene), campaignSource: request.campaignSource,
          campaignMedium: request.campaignMedium, qrID: request.qrID))
      try Self.resolveRegistered(request, app, connection, &response)
      return response
    }
  }

  /// The campaign fields come first: a link says more of one open than the code that it was printed on.
  private static func resolveRegistered(
    _ request: ProtoResolveRequest, _ app: AppFacts, _ connection: StoreConnection,
    _ response: inout ProtoResolveResponse
  ) throws {
    let code = try qrCode(request.qrID, app, connection)
    if let code { response.qrCode = code }
    let byFields = try campaign(
      source: request.campaignSource, medium: request.campaignMedium, name: request.campaignName,
      app, connection)
    if let byFields {
      response.campaign = byFields
      return
    }
    let saysNothing = request.campaignSource.isEmpty && request.campaignMedium.isEmpty && request.campaignName.isEmpty
    guard saysNothing, let code, !code.campaignID.isEmpty,
      let byCode = try campaign(code.campaignID, app, connection)
    else { return }
    response.campaign = byCode
    response.campaignByQrCode = true
  }

  // MARK: Links

  func buildLink(
    _ request: ProtoBuildLinkRequest, appID: String
  ) async throws -> ProtoBuildLinkResponse {
    try SourceRules.checkPage("page_path", request.pagePath, required: false)
    let others = try Self.parameters(request.parameters)
    return try await read(appID) { app, connection in
      let link = try Self.link(request, others, app, connection)
      var response = ProtoBuildLinkResponse()
      response.path = link.path
      response.query = link.query
      return response
    }
  }

  private static func parameters(
    _ parameters: [ProtoLinkParameter]
  ) throws(RPCError) -> [CampaignLink.Parameter] {
    guard parameters.count <= Limits.linkParametersMax else {
      throw IngestErrors.invalid(
        "parameters", "at most \(Limits.linkParametersMax); got \(parameters.count)")
    }
    var names: Set<String> = []
    var others: [CampaignLink.Parameter] = []
    for (index, parameter) in parameters.enumerated() {
      let field = "parameters[\(index)]"
      try SourceRules.checkText(
        "\(field).name", parameter.name, max: Limits.linkNameBytesMax, required: true)
      try SourceRules.checkText("\(field).value", parameter.value, max: Limits.linkValueBytesMax)
      guard !CampaignLink.reservedNames.contains(parameter.name) else {
        throw IngestErrors.invalid("\(field).name", "\"\(parameter.name)\" is set by campaign_id or qr_id")
      }
      guard names.insert(parameter.name).inserted else {
        throw IngestErrors.invalid("\(field).name", "\"\(parameter.name)\" is given twice")
      }
      others.append(.init(name: parameter.name, value: parameter.value))
    }
    return others
  }

  private static func link(
    _ request: ProtoBuildLinkRequest, _ others: [CampaignLink.Parameter], _ app: AppFacts,
    _ connection: StoreConnection
  ) throws -> CampaignLink {
    var link = CampaignLink()
    var campaignID = request.campaignID
    link.pagePath = request.pagePath
    if !request.qrID.isEmpty {
      guard let code = try qrCode(request.qrID, app, connection) else {
        throw IngestErrors.precondition(
          "qr_id", "there is no QR code \"\(request.qrID.prefix(128))\"")
      }
      link.qrID = code.qrID
      if campaignID.isEmpty { campaignID = code.campaignID }
      if link.pagePath.isEmpty { link.pagePath = code.pagePath }
    }
    guard !link.pagePath.isEmpty else {
      throw IngestErrors.invalid("page_path", "required, unless the QR code has one")
    }
    if !campaignID.isEmpty {
      guard let campaign = try campaign(campaignID, app, connection) else {
        throw IngestErrors.precondition(
          "campaign_id", "there is no campaign \"\(campaignID.prefix(128))\"")
      }
      (link.source, link.medium, link.name) = (campaign.source, campaign.medium, campaign.name)
      (link.content, link.term) = (campaign.content, campaign.term)
    }
    link.others = others
    return link
  }

  func parseLink(
    _ request: ProtoParseLinkRequest, appID: String
  ) async throws -> ProtoParseLinkResponse {
    guard request.link.utf8.count <= Limits.linkBytesMax else {
      throw IngestErrors.invalid(
        "link", "at most \(Limits.linkBytesMax) bytes; got \(request.link.utf8.count) bytes")
    }
    let link: CampaignLink
    do {
      link = try CampaignLink(parsing: request.link)
    } catch {
      throw IngestErrors.invalid("link", "\(error)")
    }
    return try await read(appID) { app, connection in
      var response = ProtoParseLinkResponse(link)
      var question = ProtoResolveRequest()
      question.qrID = link.qrID
      (question.campaignSource, question.campaignMedium) = (link.source, link.medium)
      question.campaignName = link.name
      var found = ProtoResolveResponse()
      try Self.resolveRegistered(question, app, connection, &found)
      response.campaignID = found.campaign.campaignID
      response.qrRegistered = found.hasQrCode
      return response
    }
  }
}

extension ProtoParseLinkResponse {
  init(_ link: CampaignLink) {
    self.init()
    pagePath = link.pagePath
    (campaignSource, campaignMedium, campaignName) = (link.source, link.medium, link.name)
    (campaignContent, campaignTerm, qrID) = (link.content, link.term, link.qrID)
    parameters = link.others.map { other in
      var parameter = ProtoLinkParameter()
      (parameter.name, parameter.value) = (other.name, other.value)
      return parameter
    }
  }
}

extension ProtoScene {
  init(_ scene: Events.Scene, platform: ProtoPlatform) {
    self.init()
    self.platform = platform
    code = UInt32(scene.code)
    (nameEn, nameZh) = (scene.name.english, scene.name.chinese)
    sourceKey = UInt32(scene.sourceKey)
    let source = SourceKey.name(scene.sourceKey)
    (sourceEn, sourceZh) = (source?.english ?? "", source?.chinese ?? "")
    (channel, channelDetail) = (scene.channel, scene.channelDetail)
    excludedBecause = scene.excludedBecause
    overridden = scene.isOverridden
  }
}
