import InteropMessages
import RPC

/// Why a case failed.
struct CaseFailure: Error, CustomStringConvertible {
  let description: String
}

func expect(_ condition: Bool, _ reason: @autoclosure () -> String) throws(CaseFailure) {
  if !condition { throw CaseFailure(description: reason()) }
}

func expectEqual<Value: Equatable>(
  _ actual: Value, _ expected: Value, _ what: String
) throws(CaseFailure) {
  try expect(actual == expected, "\(what): \(expected) expected, \(actual) came")
}

/// The call must fail with the code and, where given, exactly the message.
func expectStatus(
  _ code: StatusCode, message: String? = nil, _ call: () async throws -> Void
) async throws {
  do {
    try await call()
  } catch let error as RPCError {
    try expectEqual(error.code, code, "status (\(error.message))")
    if let message { try expectEqual(error.message, message, "status message") }
    return
  }
  throw CaseFailure(description: "\(code) expected, the call was OK")
}

/// Zeros, of this size.
func expectPayload(_ payload: Grpc_Testing_Payload, bytes: Int) throws(CaseFailure) {
  try expectEqual(payload.body.count, bytes, "bytes of the payload")
  try expect(payload.body.allSatisfy { $0 == 0 }, "the payload has other bytes than zeros")
}
