internal import Foundation
package import Messages
package import RPC
internal import SwiftProtobuf
internal import Synchronization

/// `grpc.reflection.v1.ServerReflection`: shows what a server offers.
package struct ReflectionService: Grpc_Reflection_V1_ServerReflectionHandlers {
  typealias Request = Grpc_Reflection_V1_ServerReflectionRequest
  typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

  private let services: [String]
  private let index: IndexOnDemand

  /// - Parameter services: names of the services that the server offers.
  package init(services: [String]) {
    self.services = services.sorted()
    index = IndexOnDemand(services: services)
  }

  package func serverReflectionInfo(
    _ requests: RequestStream<Grpc_Reflection_V1_ServerReflectionRequest>,
    responses: ResponseWriter<Grpc_Reflection_V1_ServerReflectionResponse>, context: CallContext
  ) async throws {
    for try await request in requests { try await responses.send(answer(request)) }
  }

  private func answer(_ request: Request) throws -> Response {
    var response = Response()
    response.validHost = request.host
    response.originalRequest = request
    response.messageResponse = try answer(request.messageRequest)
    return response
  }

  private func answer(
    _ request: Request.OneOf_MessageRequest?
  ) throws -> Response.OneOf_MessageResponse {
    let index = try index.value()
    switch request {
    case .fileByFilename(let name):
      return files(index.file(named: name), "file \"\(name)\"")
    case .fileContainingSymbol(let symbol):
      return files(index.file(containing: symbol), "symbol \"\(symbol)\"")
    case .fileContainingExtension(let wanted):
      return files(
        index.file(extending: wanted.containingType, number: wanted.extensionNumber),
        "extension \(wanted.extensionNumber) of \"\(wanted.containingType)\"")
    case .allExtensionNumbersOfType(let type):
      guard let numbers = index.extensionNumbers(of: type) else {
        return failure(.notFound, "no type \"\(type)\" here")
      }
      return .allExtensionNumbersResponse(
        .with {
          $0.baseTypeName = type
          $0.extensionNumber = numbers
        })
    case .listServices:
      return .listServicesResponse(
        .with { $0.service = services.map { name in .with { $0.name = name } } })
    case nil:
      return failure(.invalidArgument, "message_request: nothing was asked")
    }
  }

  private func files(_ found: [[UInt8]]?, _ wanted: String) -> Response.OneOf_MessageResponse {
    guard let found else { return failure(.notFound, "no \(wanted) here") }
    return .fileDescriptorResponse(.with { $0.fileDescriptorProto = found.map { Data($0) } })
  }

  private func failure(_ code: StatusCode, _ message: String) -> Response.OneOf_MessageResponse {
    .errorResponse(
      .with {
        $0.errorCode = Int32(code.rawValue)
        $0.errorMessage = message
      })
  }
}

/// Made when somebody asks: few processes are ever asked, and none has to wait for it at its start.
private final class IndexOnDemand: Sendable {
  private let services: [String]
  private let made = Mutex<ReflectionIndex?>(nil)

  init(services: [String]) { self.services = services }

  func value() throws -> ReflectionIndex {
    try made.withLock { made in
      if let made { return made }
      let index = try ReflectionIndex(services: services)
      made = index
      return index
    }
  }
}

/// The same under its older name, for older tools. Its messages are the same bytes.
package struct ReflectionServiceV1Alpha: ServiceHandlers {
  private typealias Methods = Grpc_Reflection_V1alpha_ServerReflectionMethods

  package static var serviceName: String { Methods.serverReflectionInfo.service }

  private let service: ReflectionService

  package init(_ service: ReflectionService) { self.service = service }

  package var methodHandlers: [MethodHandler] {
    service.methodHandlers.map { MethodHandler(Methods.serverReflectionInfo, $0.implementation) }
  }
}
