import Events
package import Messages
package import RPC
package import Store
package import Subscription

/// Answers who the users are.
package final class UserProfileService: UserProfileHandlers {
  private let store: Store
  private let app: @Sendable (String) -> DirectoryApp?
  private let position: @Sendable (StoreConnection) throws -> LogPosition
  private let status: @Sendable () -> ProtoConsumerStatus

  /// - Parameters:
  ///   - app: what is known of an app, nil for an unknown one.
  ///   - position: how far a snapshot of the store has come.
  ///   - status: how far the log has been applied.
  package init(
    store: Store, app: @escaping @Sendable (String) -> DirectoryApp?,
    position: @escaping @Sendable (StoreConnection) throws -> LogPosition,
    status: @escaping @Sendable () -> ProtoConsumerStatus
  ) {
    self.store = store
    self.app = app
    self.position = position
    self.status = status
  }

  package func getProfile(
    _ request: ProtoGetProfileRequest, context: CallContext
  ) async throws -> ProtoProfile {
    let appID = try context.appID(requested: request.appID)
    return try await Self.mappingErrors {
      let app = try known(appID)
      let openID = try checkedOpenID(request.openID)
      return try await store.readDetached { [position] connection in
        let reader = try ProfileReader(connection, appID: appID)
        guard let user = try reader.user(openID) else {
          throw ProfileQuestionError.unknownUser(openID)
        }
        return ProtoProfile(
          user, openID: openID, rules: app.sessionRules,
          info: Self.info(reader, try position(connection), app, user: user))
      }
    }
  }

  package func getPortrait(
    _ request: ProtoGetPortraitRequest, context: CallContext
  ) async throws -> ProtoGetPortraitResponse {
    let appID = try context.appID(requested: request.appID)
    return try await Self.mappingErrors {
      let app = try known(appID)
      let question = try PortraitQuestion(request)
      return try await store.readDetached { [position] connection in
        let reader = try ProfileReader(connection, appID: appID)
        let portrait = try reader.portrait(question.days)
        return ProtoGetPortraitResponse(
          question, active: portrait.active, new: portrait.new,
          info: Self.info(
            reader, try position(connection), app, try reader.totals(question.days),
            days: question.days))
      }
    }
  }

  package func getStatus(
    _ request: ProtoGetProfileStatusRequest, context: CallContext
  ) async throws -> ProtoConsumerStatus {
    status()
  }

  private func known(_ appID: String) throws(ProfileQuestionError) -> DirectoryApp {
    guard let found = app(appID) else { throw .unknownApp(appID) }
    return found
  }
}
