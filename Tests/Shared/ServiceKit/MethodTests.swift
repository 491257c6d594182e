import Messages
import RPC
import ServiceKit
import SwiftProtobuf
import Testing

@Suite("Methods")
struct MethodTests {
  private static let all: [MethodDescriptor] =
    IngestMethods.all + EventLogMethods.all + LogControlMethods.all + EventManagementMethods.all
    + CompletenessMethods.all + PrivacyMethods.all + KeysMethods.all + QuarantineMethods.all
    + SourcesMethods.all + QueryMethods.all + EventAnalysisMethods.all + RetentionMethods.all
    + VisitsMethods.all + PagesMethods.all + TrafficMethods.all + PerformanceMethods.all
    + UsersMethods.all + PathsMethods.all + ReportsMethods.all + ReportStoreMethods.all
    + LiveStatsMethods.all
    + UserProfileMethods.all + Grpc_Health_V1_HealthMethods.all
    + Grpc_Reflection_V1_ServerReflectionMethods.all
    + Grpc_Reflection_V1alpha_ServerReflectionMethods.all + Grpc_Channelz_V1_ChannelzMethods.all

  /// What anybody may call.
  private static let open: Set<String> = [
    "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
  ]

  @Test("Every method needs a scope that exists, or is in the list of open ones")
  func scopes() {
    for method in Self.all {
      switch method.access {
      case .open: #expect(Self.open.contains(method.path))
      case .scope(let scope): #expect(Scope.all.contains(scope), "\(method): \(scope)")
      }
    }
  }

  @Test("The lists name every method of every proto file")
  func complete() throws {
    var declared: Set<String> = []
    for file in ProtoFile.all {
      let proto = try Google_Protobuf_FileDescriptorProto(serializedBytes: file.descriptor)
      #expect(proto.name == file.name)
      for service in proto.service {
        for method in service.method {
          declared.insert("/\(proto.package).\(service.name)/\(method.name)")
        }
      }
    }
    #expect(declared == Set(Self.all.map(\.path)))
    #expect(declared.count == Self.all.count)
  }

  @Test("Deadline, idempotency and kind come from the proto file")
  func options() {
    let collect = IngestMethods.collect
    #expect(collect.kind == .unary)
    #expect(collect.idempotency == .idempotent)
    #expect(collect.defaultDeadlineMilliseconds == 10_000)
    #expect(collect.access == .scope("ingest:write"))
    #expect(IngestMethods.collectStream.kind == .bidirectional)
    #expect(EventLogMethods.subscribe.kind == .serverStreaming)
    #expect(IngestMethods.createToken.idempotency == .unknown)
    #expect(QueryMethods.getTrend.idempotency == .noSideEffects)
  }

  @Test("A message that does not decode is INTERNAL and named")
  func undecodable() {
    let coder = MessageCoder<ProtoGetAppRequest>.protobuf()
    do {
      _ = try coder.decode([0x0A, 0x05, 0x41])
      Issue.record("decoded a cut message")
    } catch {
      let error = error as? RPCError
      #expect(error?.code == .internal)
      #expect(error?.message.contains("footfall.ingest.v1.GetAppRequest") == true)
    }
  }

  @Test("A message nested deeper than the limit is refused")
  func nesting() throws {
    var filter = ProtoFilter()
    for _ in 0..<MessageLimits.depthMax {
      let inner = filter
      filter = .with { $0.not = inner }
    }
    let bytes: [UInt8] = try filter.serializedBytes()
    #expect(throws: RPCError.self) {
      try MessageCoder<ProtoFilter>.protobuf().decode(bytes)
    }
  }
}
