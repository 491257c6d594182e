// The server of the RPC load test's full method: what every method of the services passes through. A token of ServiceKit's
// table is checked for the method's scope, the call is counted, and generated types are decoded and encoded.

import Dispatch
import Foundation
import Glibc
import Logging
import Messages
import RPC
import RPCTransport
import ServiceKit
import SwiftProtobuf

/// Answers with a profile made of the request alone, so that any peer can give the same bytes.
struct ProfileService: UserProfileHandlers {
  static func profile(of request: ProtoGetProfileRequest) -> ProtoProfile {
    .with {
      $0.openID = request.openID
      $0.firstActiveMs = 1_750_000_000_000
      $0.lastActiveMs = 1_760_000_000_000 + Int64(request.appID.utf8.count)
      $0.sessionCnt = 17
      $0.visitPv = UInt64(request.openID.utf8.count)
      $0.eventCnt = 300
      $0.activeDays = 5
    }
  }

  func getProfile(
    _ request: ProtoGetProfileRequest, context: CallContext
  ) async throws -> ProtoProfile { Self.profile(of: request) }

  func getPortrait(
    _ request: ProtoGetPortraitRequest, context: CallContext
  ) async throws -> ProtoGetPortraitResponse { throw RPCError(.unimplemented, "not a part of the test") }

  func getStatus(
    _ request: ProtoGetProfileStatusRequest, context: CallContext
  ) async throws -> ProtoConsumerStatus { throw RPCError(.unimplemented, "not a part of the test") }
}

/// The same as a typed handler on the event loop, the style of methods that never wait.
struct LoopService: ServiceHandlers {
  static let serviceName = "load.Loop"
  static let getProfile = MethodDescriptor(
    service: serviceName, method: "GetProfile", kind: .unary, access: .scope("profile:read"))

  var methodHandlers: [MethodHandler] {
    [
      .eventLoop(Self.getProfile) {
        (request: ProtoGetProfileRequest, _: LoopCall) -> ProtoProfile in
        ProfileService.profile(of: request)
      }
    ]
  }
}

@main
struct MethodServer {
  /// Serves on the port of the first argument with one event loop and prints a token that may call.
  static func main() {
    // The main thread waits instead of leaving itself to Dispatch, which valgrind does not survive.
    let finished = DispatchSemaphore(value: 0)
    Task.detached {
      do { try await serve() } catch { fatalError("\(error)") }
      finished.signal()
    }
    finished.wait()
  }

  private static func serve() async throws {
    let port = CommandLine.arguments.count > 1 ? Int(CommandLine.arguments[1]) ?? 0 : 0
    let (tokens, secret) = try token()
    let server = RPCServer(
      configuration: ServerConfiguration(port: port, eventLoops: 1),
      services: [ProfileService(), LoopService()], authorizer: tokens,
      logger: Logger(label: "method"))
    let bound = try await server.start()
    print("token: \(secret)\nready: method on 127.0.0.1:\(bound)")
    fflush(nil)
    while true { try await Task.sleep(for: .seconds(3_600)) }
  }

  private static func token() throws -> (TokenTable, String) {
    let secret = TokenSecret.generate()
    let tokens = TokenTable()
    let taken = tokens.apply(
      .with {
        $0.token.tokenID = secret.tokenID
        $0.token.appID = "shop"
        $0.token.scopes = ["profile:read"]
        $0.secretHash = Data(secret.hash)
      })
    precondition(taken, "a token that was just made is well formed")
    return (tokens, secret.text)
  }
}
