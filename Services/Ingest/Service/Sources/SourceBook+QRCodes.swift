import Messages
import RPC
import Store
import SwiftProtobuf

extension SourceBook {
  // MARK: Reading

  static func qrCode(
    _ id: String, _ app: AppFacts, _ connection: StoreConnection
  ) throws -> ProtoQrCode? {
    try connection.first(
      "SELECT body FROM qr_code WHERE app = ? AND qr_id = ?", [.integer(app.number), .text(id)]
    ) { try ProtoQrCode(serializedBytes: $0.bytes(0)) }
  }

  func qrCode(_ id: String, appID: String) async throws -> ProtoQrCode {
    try await read(appID) { app, connection in
      guard let code = try Self.qrCode(id, app, connection) else { throw Self.unknownCode(id) }
      return code
    }
  }

  private static func unknownCode(_ id: String) -> RPCError {
    IngestErrors.missing("qr_id", "QR code", String(id.prefix(128)))
  }

  func qrCodes(
    _ appID: String, rows: Int, after: String, withArchived: Bool
  ) async throws -> ProtoListQrCodesResponse {
    try await read(appID) { app, connection in
      var response = ProtoListQrCodesResponse()
      response.qrCodes = try connection.query(
        """
        SELECT body FROM qr_code WHERE app = ? AND qr_id > ? AND (? OR NOT archived)
        ORDER BY qr_id LIMIT ?
        """,
        [
          .integer(app.number), .text(after), .integer(withArchived ? 1 : 0),
          .integer(Int64(rows) + 1),
        ]
      ) { try ProtoQrCode(serializedBytes: $0.bytes(0)) }
      // One more than asked tells whether there are more.
      if response.qrCodes.count > rows {
        response.qrCodes.removeLast()
        response.nextPageToken = response.qrCodes.last?.qrID ?? ""
      }
      return response
    }
  }

  func unregistered(
    _ appID: String, rows: Int, after: String
  ) async throws -> ProtoListUnregisteredQrCodesResponse {
    try await read(appID) { app, connection in
      var response = ProtoListUnregisteredQrCodesResponse()
      response.qrCodes = try connection.query(
        """
        SELECT qr_id, events, first_ms, last_ms FROM qr_seen AS seen
        WHERE app = ?1 AND qr_id > ?2
          AND NOT EXISTS (SELECT 1 FROM qr_code WHERE app = ?1 AND qr_id = seen.qr_id)
        ORDER BY qr_id LIMIT ?3
        """, [.integer(app.number), .text(after), .integer(Int64(rows) + 1)]
      ) { row in
        var code = ProtoUnregisteredQrCode()
        code.qrID = row.string(0)
        code.events = UInt64(row.int64(1))
        (code.firstMs, code.lastMs) = (row.int64(2), row.int64(3))
        return code
      }
      if response.qrCodes.count > rows {
        response.qrCodes.removeLast()
        response.nextPageToken = response.qrCodes.last?.qrID ?? ""
      }
      response.otherEvents = try connection.first(
        "SELECT events FROM qr_seen WHERE app = ? AND qr_id = ''", [.integer(app.number)]
      ) { UInt64($0.int64(0)) } ?? 0
      return response
    }
  }

  // MARK: Changing

  func register(
    _ request: ProtoQrCode, appID: String, _ author: Author
  ) async throws -> ProtoQrCode {
    let asked = try SourceRules.normalized(request)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      if let known = try Self.qrCode(asked.qrID, app, connection) {
        guard !known.archived, Self.settings(known) == asked else {
          throw IngestErrors.exists(
            "qr_code.qr_id", asked.qrID,
            known.archived ? "is archived" : "exists with other settings")
        }
        return known
      }
      try Self.checkCampaign(of: asked, app, connection)
      let count = try connection.first(
        "SELECT count(*) FROM qr_code WHERE app = ?", [.integer(app.number)]) { $0.int(0) } ?? 0
      guard count < Limits.qrCodesMax else {
        throw IngestErrors.full("QR codes of \(appID)", max: Limits.qrCodesMax)
      }
      var code = asked
      (code.createdMs, code.createdBy) = (author.now, author.tokenID)
      return try Self.write(code, app, author, appender, connection)
    }
  }

  func update(
    _ request: ProtoQrCode, appID: String, _ author: Author
  ) async throws -> ProtoQrCode {
    let asked = try SourceRules.normalized(request)
    return try await change { appender, connection in
      let app = try Self.app(appID, connection)
      guard let known = try Self.qrCode(asked.qrID, app, connection) else {
        throw Self.unknownCode(asked.qrID)
      }
      guard Self.settings(known) != asked else { return known }
      try Self.checkCampaign(of: asked, app, connection)
      var code = asked
      code.archived = known.archived
      (code.createdMs, code.createdBy) = (known.createdMs, known.createdBy)
      return try Self.write(code, app, author, appender, connection)
    }
  }

  func archive(
    _ request: ProtoArchiveQrCodeRequest, appID: String, _ author: Author
  ) async throws -> ProtoQrCode {
    try await change { appender, connection in
      let app = try Self.app(appID, connection)
      guard var code = try Self.qrCode(request.qrID, app, connection) else {
        throw Self.unknownCode(request.qrID)
      }
      guard code.archived == request.restore else { return code }
      code.archived = !request.restore
      return try Self.write(code, app, author, appender, connection)
    }
  }

  private static func checkCampaign(
    of code: ProtoQrCode, _ app: AppFacts, _ connection: StoreConnection
  ) throws {
    guard !code.campaignID.isEmpty else { return }
    guard try campaign(code.campaignID, app, connection) != nil else {
      throw IngestErrors.precondition(
        "qr_code.campaign_id", "there is no campaign \"\(code.campaignID)\"")
    }
  }

  /// What a caller sets.
  private static func settings(_ code: ProtoQrCode) -> ProtoQrCode {
    var settings = code
    settings.archived = false
    (settings.createdMs, settings.createdBy) = (0, "")
    (settings.changedMs, settings.changedBy) = (0, "")
    return settings
  }

  private static func write(
    _ code: ProtoQrCode, _ app: AppFacts, _ author: Author, _ appender: LogAppender,
    _ connection: StoreConnection
  ) throws -> ProtoQrCode {
    var code = code
    (code.changedMs, code.changedBy) = (author.now, author.tokenID)
    try connection.execute(
      """
      INSERT INTO qr_code VALUES (?, ?, ?, ?)
      ON CONFLICT DO UPDATE SET archived = excluded.archived, body = excluded.body
      """,
      [
        .integer(app.number), .text(code.qrID), .integer(code.archived ? 1 : 0),
        .blob(try code.serializedBytes()),
      ])
    try append(.qrCode(code), of: app, author, appender, connection)
    return code
  }
}
