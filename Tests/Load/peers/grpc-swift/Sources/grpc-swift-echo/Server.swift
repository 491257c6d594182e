// Unary echo, and a full method: the token of the call's metadata, the generated types of Shared/Messages. One thread would
// be the fair measure; the load test pins the process to one core.
// Usage: grpc-swift-echo PORT [TOKEN]

import GRPCCore
import GRPCNIOTransportHTTP2Posix
package import SwiftProtobuf

struct BytesSerializer: MessageSerializer {
  func serialize<Bytes: GRPCContiguousBytes>(_ message: [UInt8]) throws -> Bytes { Bytes(message) }
}

struct BytesDeserializer: MessageDeserializer {
  func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> [UInt8] {
    bytes.withUnsafeBytes { [UInt8]($0) }
  }
}

struct ProfileSerializer: MessageSerializer {
  func serialize<Bytes: GRPCContiguousBytes>(_ message: ProtoProfile) throws -> Bytes {
    let bytes: [UInt8] = try message.serializedBytes()
    return Bytes(bytes)
  }
}

struct RequestDeserializer: MessageDeserializer {
  func deserialize<Bytes: GRPCContiguousBytes>(_ bytes: Bytes) throws -> ProtoGetProfileRequest {
    try bytes.withUnsafeBytes { try ProtoGetProfileRequest(serializedBytes: [UInt8]($0)) }
  }
}

struct Echo: RegistrableRPCService {
  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    let service = ServiceDescriptor(fullyQualifiedService: "echo.Echo")
    router.registerHandler(
      forMethod: MethodDescriptor(service: service, method: "Unary"),
      deserializer: BytesDeserializer(), serializer: BytesSerializer()
    ) { request, _ in
      let message = try await ServerRequest(stream: request).message
      return StreamingServerResponse(single: ServerResponse(message: message))
    }
  }
}

struct UserProfile: RegistrableRPCService {
  /// Scopes by authorization header.
  let scopes: [String: String]

  func registerMethods<Transport: ServerTransport>(with router: inout RPCRouter<Transport>) {
    let service = ServiceDescriptor(fullyQualifiedService: "footfall.profile.v1.UserProfile")
    router.registerHandler(
      forMethod: MethodDescriptor(service: service, method: "GetProfile"),
      deserializer: RequestDeserializer(), serializer: ProfileSerializer()
    ) { request, _ in
      try authorize(request.metadata)
      let message = try await ServerRequest(stream: request).message
      return StreamingServerResponse(single: ServerResponse(message: profile(of: message)))
    }
  }

  private func authorize(_ metadata: Metadata) throws {
    var tokens = metadata[stringValues: "authorization"].makeIterator()
    guard let token = tokens.next(), let scope = scopes[token] else {
      throw RPCError(code: .unauthenticated, message: "unknown token")
    }
    guard scope == "profile:read" else {
      throw RPCError(code: .permissionDenied, message: "lacks the scope")
    }
  }

  private func profile(of request: ProtoGetProfileRequest) -> ProtoProfile {
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
}

@main
struct Server {
  static func main() async throws {
    let arguments = CommandLine.arguments
    var configuration = HTTP2ServerTransport.Posix.Config.defaults
    configuration.http2.maxConcurrentStreams = 1_024
    let transport = HTTP2ServerTransport.Posix(
      address: .ipv4(host: "127.0.0.1", port: arguments.count > 1 ? Int(arguments[1]) ?? 0 : 0),
      transportSecurity: .plaintext, config: configuration)
    let scopes = arguments.count > 2 ? ["Bearer \(arguments[2])": "profile:read"] : [:]
    let server = GRPCServer(
      transport: transport, services: [Echo(), UserProfile(scopes: scopes)])
    try await server.serve()
  }
}
