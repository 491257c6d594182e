import Foundation
import InteropMessages

/// The sizes of gRPC's interop-test-descriptions.
enum Sizes {
  static let largeRequest = 271_828
  static let largeResponse = 314_159
  static let requests = [27_182, 8, 1_828, 45_904]
  static let responses = [31_415, 9, 2_653, 58_979]
}

extension Grpc_Testing_Payload {
  init(zeros: Int) {
    self.init()
    body = Data(count: zeros)
  }
}

extension Grpc_Testing_BoolValue {
  init(_ value: Bool) {
    self.init()
    self.value = value
  }
}

extension Grpc_Testing_SimpleRequest {
  /// The request of large_unary.
  static var large: Self {
    var request = Self()
    request.responseSize = Int32(Sizes.largeResponse)
    request.payload = Grpc_Testing_Payload(zeros: Sizes.largeRequest)
    return request
  }
}

extension Grpc_Testing_StreamingInputCallRequest {
  init(zeros: Int) {
    self.init()
    payload = Grpc_Testing_Payload(zeros: zeros)
  }
}

extension Grpc_Testing_StreamingOutputCallRequest {
  /// - Parameter responses: the sizes of the payloads that are asked for.
  init(responses: [Int], zeros: Int? = nil) {
    self.init()
    responseParameters = responses.map { size in
      var parameters = Grpc_Testing_ResponseParameters()
      parameters.size = Int32(size)
      return parameters
    }
    if let zeros { payload = Grpc_Testing_Payload(zeros: zeros) }
  }
}

extension Grpc_Testing_EchoStatus {
  init(code: Int, _ message: String) {
    self.init()
    self.code = Int32(code)
    self.message = message
  }
}
