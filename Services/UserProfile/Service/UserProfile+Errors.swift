import Events
import RPC
import Store

/// A question that user-profile does not answer, and why.
package enum ProfileQuestionError: Error, Equatable {
  case unknownApp(String)
  case unknownUser(String)
  case badOpenID(Int)
  case badDays(Int32)
  case badMinGroupUsers(UInt32)

  /// The one table from what cannot be answered to a status.
  var status: RPCError {
    switch self {
    case .unknownApp(let app):
      RPCError(.notFound, "app_id: there is no app \"\(app.prefix(128))\"")
    case .unknownUser(let user):
      RPCError(.notFound, "open_id: the app never saw the user \"\(user)\"")
    case .badOpenID(let count):
      RPCError(
        .invalidArgument,
        "open_id: must have 1-\(EventLimits.openIDBytesMax) bytes, has \(count)")
    case .badDays(let days):
      RPCError(.invalidArgument, "days: must be 1, 7 or 30, is \(days)")
    case .badMinGroupUsers(let users):
      RPCError(
        .invalidArgument,
        "min_group_users: must be at most \(ProfileLimits.minGroupUsersMax), is \(users)")
    }
  }
}

extension UserProfileService {
  /// Runs the body; its errors of the domain and of the store come out as statuses.
  static func mappingErrors<T>(
    isolation: isolated (any Actor)? = #isolation, _ body: () async throws -> T
  ) async throws -> T {
    do {
      return try await body()
    } catch let error as ProfileQuestionError {
      throw error.status
    } catch let error as RuleViolation {
      throw RPCError(.invalidArgument, "\(error)")
    } catch let error as StoreError {
      throw RPCError(.unavailable, "the store cannot be read now", cause: error)
    } catch let error as PackedError {
      throw RPCError(.dataLoss, "\(error)", cause: error)
    }
  }
}
