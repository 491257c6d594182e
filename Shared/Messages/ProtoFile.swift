internal import Foundation

/// The descriptor of one `.proto` file, as reflection serves it.
package struct ProtoFile: Sendable {
  /// The name by which other files import it: `footfall/live/v1/live.proto`.
  package let name: String
  private let base64: String

  init(name: String, base64: String) {
    self.name = name
    self.base64 = base64
  }

  /// An encoded `google.protobuf.FileDescriptorProto`. Cost: decodes its base64 each time.
  package var descriptor: [UInt8] {
    guard let data = Data(base64Encoded: base64, options: .ignoreUnknownCharacters) else {
      preconditionFailure("generated base64 of \(name) is broken")
    }
    return [UInt8](data)
  }
}
