import Foundation
import Messages
import RPC
import ServiceKit
import SwiftProtobuf
import Testing

@Suite("Reflection")
struct ReflectionTests {
  private typealias Request = Grpc_Reflection_V1_ServerReflectionRequest
  private typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

  private static let offered = ["footfall.live.v1.LiveStats", "grpc.health.v1.Health"]

  /// Asks all on one stream and gives the answers in order.
  private static func ask(_ questions: [Request.OneOf_MessageRequest]) async throws -> [Response] {
    let service = ReflectionService(services: offered)
    var answers: [Response] = []
    try await ServerForTest.with([service, ReflectionServiceV1Alpha(service)]) { peer in
      let client = Grpc_Reflection_V1_ServerReflectionClient(peer.channel)
      let call = try await client.serverReflectionInfo()
      var responses = call.responses.makeAsyncIterator()
      for question in questions {
        try await call.send(.with { $0.messageRequest = question })
        answers.append(try #require(try await responses.next()))
      }
      try await call.finishSending()
      #expect(try await responses.next() == nil)
    }
    return answers
  }

  private static func files(_ response: Response) throws -> [Google_Protobuf_FileDescriptorProto] {
    try response.fileDescriptorResponse.fileDescriptorProto.map {
      try Google_Protobuf_FileDescriptorProto(serializedBytes: $0)
    }
  }

  @Test("It lists what the server offers")
  func list() async throws {
    let answers = try await Self.ask([.listServices("")])
    #expect(answers[0].listServicesResponse.service.map(\.name) == Self.offered)
  }

  @Test("A symbol leads to its file and all that it imports", arguments: [
    "footfall.live.v1.LiveStats", "footfall.live.v1.LiveStats.GetSeries",
    "footfall.live.v1.LivePoint", "footfall.live.v1.LivePoint.visit_pv",
  ])
  func symbol(name: String) async throws {
    let files = try Self.files(try await Self.ask([.fileContainingSymbol(name)])[0])
    #expect(files.first?.name == "footfall/live/v1/live.proto")
    // Complete: a client can resolve every import within the answer.
    let names = Set(files.map(\.name))
    for file in files { #expect(names.isSuperset(of: file.dependency)) }
    #expect(names.count == files.count)
  }

  @Test("Files, nested symbols, extensions and their numbers are found")
  func other() async throws {
    let answers = try await Self.ask([
      .fileByFilename("footfall/common/v1/common.proto"),
      .fileContainingSymbol("grpc.health.v1.HealthCheckResponse.ServingStatus"),
      .fileContainingExtension(
        .with {
          $0.containingType = "google.protobuf.MethodOptions"
          $0.extensionNumber = 50_001
        }),
      .allExtensionNumbersOfType("google.protobuf.MethodOptions"),
    ])
    #expect(try Self.files(answers[0]).map(\.name) == ["footfall/common/v1/common.proto"])
    #expect(try Self.files(answers[1]).first?.name == "grpc/health/v1/health.proto")
    #expect(try Self.files(answers[2]).first?.name == "footfall/common/v1/options.proto")
    #expect(
      answers[3].allExtensionNumbersResponse.extensionNumber == [50_001, 50_002, 50_003])
  }

  @Test("What is not offered is NOT_FOUND, and the stream goes on")
  func notFound() async throws {
    let answers = try await Self.ask([
      .fileByFilename("footfall/ingest/v1/ingest.proto"),
      .fileContainingSymbol("footfall.ingest.v1.Ingest"), .fileContainingSymbol(""),
      .fileByFilename("../../etc/passwd"), .allExtensionNumbersOfType("no.Type"),
      .listServices("*"),
    ])
    for answer in answers.dropLast() {
      #expect(answer.errorResponse.errorCode == Int32(StatusCode.notFound.rawValue))
    }
    #expect(answers.last?.listServicesResponse.service.count == 2)
  }

  @Test("The older name answers the same")
  func alpha() async throws {
    let service = ReflectionService(services: Self.offered)
    try await ServerForTest.with([service, ReflectionServiceV1Alpha(service)]) { peer in
      let client = Grpc_Reflection_V1alpha_ServerReflectionClient(peer.channel)
      let call = try await client.serverReflectionInfo()
      try await call.send(.with { $0.listServices = "" })
      try await call.finishSending()
      var responses = call.responses.makeAsyncIterator()
      let answer = try await responses.next()
      #expect(answer?.listServicesResponse.service.map(\.name) == Self.offered)
    }
  }
}
