import SwiftProtobuf
import SwiftProtobufPluginLibrary

/// A method as the generated code needs it: names in Swift, options read and checked.
struct Method {
  enum Kind: String { case unary, clientStreaming, serverStreaming, bidirectional }

  let descriptor: MethodDescriptor
  let kind: Kind
  let style: ProtoHandlerStyle
  /// Swift source of its `MethodDescriptor.Access`.
  let access: String
  /// Swift source of its idempotency; nil where it is unknown.
  let idempotency: String?
  let defaultDeadlineMilliseconds: UInt32
  let request: String
  let response: String

  /// - Throws: where the method lacks a scope, or its options contradict each other.
  init(_ method: MethodDescriptor, namer: SwiftProtobufNamer) throws {
    descriptor = method
    kind =
      switch (method.clientStreaming, method.serverStreaming) {
      case (false, false): .unary
      case (true, false): .clientStreaming
      case (false, true): .serverStreaming
      case (true, true): .bidirectional
      }
    style = method.options.ProtohandlerStyle
    access = try Self.access(method)
    idempotency =
      switch method.options.idempotencyLevel {
      case .idempotencyUnknown: nil
      case .noSideEffects: ".noSideEffects"
      case .idempotent: ".idempotent"
      }
    let isStandard = method.file.package.hasPrefix("grpc.")
    defaultDeadlineMilliseconds =
      isStandard && kind == .unary
      ? Self.standardDeadlineMilliseconds : method.options.ProtodefaultDeadlineMs
    request = namer.fullName(message: method.inputType)
    response = namer.fullName(message: method.outputType)
    if style == .eventLoop && kind != .unary {
      throw GenerationError(
        description: "\(method.fullName): HANDLER_STYLE_EVENT_LOOP is for unary methods only")
    }
    if case .UNRECOGNIZED(let number) = style {
      throw GenerationError(description: "\(method.fullName): unknown handler_style \(number)")
    }
  }

  /// `CreateApp` -> `createApp`.
  var name: String { descriptor.name.prefix(1).lowercased() + descriptor.name.dropFirst() }

  /// Of the standard services' unary methods, which carry no options of ours.
  private static let standardDeadlineMilliseconds: UInt32 = 10_000

  /// The standard services of gRPC carry no options of ours: channelz, which shows who is connected, is for
  /// administrators; the others are open.
  private static func access(_ method: MethodDescriptor) throws -> String {
    let scope = method.options.Protoscope
    if scope == "open" { return ".open" }
    if scope.isEmpty, method.file.package.hasPrefix("grpc.") {
      return method.file.package.hasPrefix("grpc.channelz.") ? ".scope(\"admin\")" : ".open"
    }
    guard !scope.isEmpty else {
      throw GenerationError(
        description: """
          \(method.fullName): no scope. Every method names the scope that its caller needs: \
          option (footfall.common.v1.scope) = "query:read"; or "open" for none.
          """)
    }
    guard scope.utf8.allSatisfy({ (97...122).contains($0) || $0 == 58 }) else {
      throw GenerationError(
        description: "\(method.fullName): scope \"\(scope)\" has other characters than a-z and :")
    }
    return ".scope(\"\(scope)\")"
  }
}
