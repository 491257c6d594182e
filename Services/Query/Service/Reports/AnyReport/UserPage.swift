import Messages

/// A part of a list of users. It goes on behind the last user of the page before, so that nobody is given twice, whatever
/// happened in between.
struct UserPage {
  private let size: Int
  /// Code of the last user of the page before; 0: the first page.
  private let after: UInt32

  init(_ request: ProtoListUsersRequest) throws(QueryError) {
    guard request.pageSize <= UInt32(Limits.usersPerPageMax) else {
      throw .invalid("page_size", "is \(request.pageSize), must be 1-\(Limits.usersPerPageMax)")
    }
    size = request.pageSize == 0 ? Limits.usersPerPageDefault : Int(request.pageSize)
    if request.pageToken.isEmpty {
      after = 0
    } else {
      // Exactly as it was given: "+1" and "01" would be read as 1 too.
      guard let code = UInt32(request.pageToken, radix: 36), code > 0,
        String(code, radix: 36) == request.pageToken
      else {
        throw .invalid("page_token", "\"\(request.pageToken.prefix(64))\" is not of an answer")
      }
      after = code
    }
  }

  func response(_ list: UserList) -> ProtoListUsersResponse {
    let begin = list.users.partitioningIndex { $0 > after }
    let users = list.users[begin...].prefix(size)
    var response = ProtoListUsersResponse()
    response.openIds = list.app.texts(.users, users)
    response.total = UInt64(list.users.count)
    if let last = users.last, last != list.users.last {
      response.nextPageToken = String(last, radix: 36)
    }
    response.info = ProtoAnswerInfo(list.info)
    return response
  }
}
