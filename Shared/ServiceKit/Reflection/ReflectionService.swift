internal import Foundation
package import Messages
package import RPC
internal import SwiftProtobuf

/// `grpc.reflection.v1.ServerReflection`: shows what a server offers.
package struct ReflectionService: Grpc_Reflection_V1_ServerReflectionHandlers {
  typealias Request = Grpc_Reflection_V1_ServerReflectionRequest
  typealias Response = Grpc_Reflection_V1_ServerReflectionResponse

  private let services: [String]
  private let index: ReflectionIndex

  /// - Parameter services: names of the services that the server offers.
  /// - Throws: where an embedded descriptor does not decode.
  package init(services: [String]) throws {
    self.services = services.sorted()
    index = try ReflectionIndex(services: services)
  }

  package func serverReflectionInfo(
    _ requests: RequestStream<Grpc_Reflection_V1_ServerReflectionRequest>,
    responses: ResponseWriter<Grpc_Reflection_V1_ServerReflectionResponse>, context: CallContext
  ) async throws {
    for try await request in requests { try await responses.send(answer(request)) }
  }

  private func answer(_ request: Request) -> Response {
    var response = Response()
    response.validHost = request.host
    response.originalRequest = request
    response.messageResponse = answer(request.messageRequest)
    return response
  }

  private func answer(
    _ request: Request.OneOf_MessageRequest?
  ) -> Response.OneOf_MessageResponse {
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
