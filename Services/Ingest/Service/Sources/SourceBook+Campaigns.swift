import Messages
import RPC
import Store
import SwiftProtobuf

extension SourceBook {
  // MARK: Reading

  static func campaign(
    _ id: String, _ app: AppFacts, _ connection: StoreConnection
  ) throws -> ProtoCampaign? {
    try connection.first(
      "SELECT body FROM campaign WHERE app = ? AND campaign_id = ?",
      [.integer(app.number), .text(id)]
    ) { try ProtoCampaign(serializedBytes: $0.bytes(0)) }
  }

  /// By what events bring.
  static func campaign(
    source: String, medium: String, name: String, _ app: AppFacts, _ connection: StoreConnection
  ) throws -> ProtoCampaign? {
    try connection.first(
      "SELECT body FROM campaign WHERE app = ? AND source = ? AND medium = ? AND name = ?",
      [.integer(app.number), .text(source), .text(medium), .text(name)]
    ) { try ProtoCampaign(serializedBytes: $0.bytes(0)) }
  }

  func campaign(_ id: String, appID: String) async throws -> ProtoCampaign {
    try await read(appID) { app, connection in
      guard let campaign = try Self.campaign(id, app, connection) else {
        throw Self.unknownCampaign(id)
      }
      return campaign
    }
  }

  private static func unknownCampaign(_ id: String) -> RPCError {
    IngestErrors.missing("campaign_id", "campaign", String(id.prefix(128)))
  }

  func campaigns(
    _ appID: String, rows: Int, after: String, withArchived: Bool
  ) async throws -> ProtoListCampaignsResponse {
    try await read(appID) { app, connection in
      var response = ProtoListCampaignsResponse()
      response.campaigns = try connection.query(
        """
        SELECT body FROM campaign WHERE app = ? AND campaign_id > ? AND (? OR NOT archived)
        ORDER BY campaign_id LIMIT ?
        """,
        [
          .integer(app.number), .text(after), .integer(withArchived ? 1 : 0),
          .integer(Int64(rows) + 1),
        ]
      ) { try ProtoCampaign(serializedBytes: $0.bytes(0)) }
      if response.campaigns.count > rows {
        response.campaigns.removeLast()
        response.nextPageToken = response.campaigns.last?.campaignID ?? ""
      }
      return response
    }
  }

  // MARK: Changing

  func register(
    _ request: ProtoCampaign, appID: String, _ author: Author
  ) async throws -> ProtoCampaign {
    let asked = try SourceRules.normalized(request)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      if let known = try Self.campaign(asked.campaignID, app, connection) {
        guard !known.archived, Self.settings(known) == asked else {
          throw IngestErrors.exists(
            "campaign.campaign_id", asked.campaignID,
            known.archived ? "is archived" : "exists with other settings")
        }
        return known
      }
      let taken = try Self.campaign(
        source: asked.source, medium: asked.medium, name: asked.name, app, connection)
      if let taken {
        throw IngestErrors.exists(
          "campaign.name", asked.name,
          "of this source and medium is the campaign \"\(taken.campaignID)\"")
      }
      let count = try connection.first(
        "SELECT count(*) FROM campaign WHERE app = ?", [.integer(app.number)]) { $0.int(0) } ?? 0
      guard count < Limits.campaignsMax else {
        throw IngestErrors.full("campaigns of \(appID)", max: Limits.campaignsMax)
      }
      var campaign = asked
      (campaign.createdMs, campaign.createdBy) = (author.now, author.tokenID)
      return try Self.write(campaign, app, author, appender, connection)
    }
  }

  func update(
    _ request: ProtoCampaign, appID: String, _ author: Author
  ) async throws -> ProtoCampaign {
    let asked = try SourceRules.normalized(request)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      guard let known = try Self.campaign(asked.campaignID, app, connection) else {
        throw Self.unknownCampaign(asked.campaignID)
      }
      try Self.checkKey(asked, known)
      guard Self.settings(known) != asked else { return known }
      var campaign = asked
      campaign.archived = known.archived
      (campaign.createdMs, campaign.createdBy) = (known.createdMs, known.createdBy)
      return try Self.write(campaign, app, author, appender, connection)
    }
  }

  private static func checkKey(_ asked: ProtoCampaign, _ known: ProtoCampaign) throws {
    for (field, new, old) in [
      ("source", asked.source, known.source), ("medium", asked.medium, known.medium),
      ("name", asked.name, known.name),
    ] where new != old {
      throw IngestErrors.precondition(
        "campaign.\(field)",
        "stays \"\(old)\", because events are resolved by it; got \"\(new)\"")
    }
  }

  func archive(
    _ request: ProtoArchiveCampaignRequest, appID: String, _ author: Author
  ) async throws -> ProtoCampaign {
    try await change { appender, connection in
      let app = try Self.app(appID, connection)
      guard var campaign = try Self.campaign(request.campaignID, app, connection) else {
        throw Self.unknownCampaign(request.campaignID)
      }
      guard campaign.archived == request.restore else { return campaign }
      campaign.archived = !request.restore
      return try Self.write(campaign, app, author, appender, connection)
    }
  }

  /// What a caller sets.
  private static func settings(_ campaign: ProtoCampaign) -> ProtoCampaign {
    var settings = campaign
    settings.archived = false
    (settings.createdMs, settings.createdBy) = (0, "")
    (settings.changedMs, settings.changedBy) = (0, "")
    return settings
  }

  private static func write(
    _ campaign: ProtoCampaign, _ app: AppFacts, _ author: Author, _ appender: LogAppender,
    _ connection: StoreConnection
  ) throws -> ProtoCampaign {
    var campaign = campaign
    (campaign.changedMs, campaign.changedBy) = (author.now, author.tokenID)
    try connection.execute(
      """
      INSERT INTO campaign VALUES (?, ?, ?, ?, ?, ?, ?)
      ON CONFLICT(app, campaign_id) DO UPDATE SET archived = excluded.archived, body = excluded.body
      """,
      [
        .integer(app.number), .text(campaign.campaignID), .text(campaign.source),
        .text(campaign.medium), .text(campaign.name), .integer(campaign.archived ? 1 : 0),
        .blob(try campaign.serializedBytes()),
      ])
    try append(.campaign(campaign), of: app, author, appender, connection)
    return campaign
  }
}
