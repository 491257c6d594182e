import SwiftProtobuf
import SwiftProtobufPluginLibrary

/// What makes a `.proto` file unusable: shown by protoc as the reason of its failure.
struct GenerationError: Error, CustomStringConvertible {
  let description: String
}

/// The protoc plug-in: stubs per file with services, and one file with the descriptors of all.
@main
struct FootfallGenerator: CodeGenerator {
  var supportedFeatures: [Google_Protobuf_Compiler_CodeGeneratorResponse.Feature] { [.proto3Optional] }
  var supportedEditionRange: ClosedRange<Google_Protobuf_Edition> { .proto3 ... .proto3 }
  var customOptionExtensions: [any AnyMessageExtension] {
    [ProtoExtensions_scope, ProtoExtensions_default_deadline_ms, ProtoExtensions_handler_style]
  }
  var version: String? { nil }
  var projectURL: String? { nil }
  var copyrightLine: String? { nil }

  static func main() { FootfallGenerator().main(nil) }

  func generate(
    files: [FileDescriptor], parameter: any CodeGeneratorParameter,
    protoCompilerContext: any ProtoCompilerContext, generatorOutputs: any GeneratorOutputs
  ) throws {
    let adapters = try Self.adapters(parameter.parameter)
    for file in files where !file.services.isEmpty {
      let name = Self.outputName(file.name)
      try generatorOutputs.add(
        fileName: "\(name).rpc.swift", contents: try StubsGenerator(file: file, adapters: adapters).generate())
    }
    try generatorOutputs.add(
      fileName: "descriptors.swift", contents: try DescriptorsGenerator(files: files).generate())
  }

  /// The module that holds the adapters which generated code calls, where it is another than that of the generated code:
  /// `Adapters=Messages`.
  private static func adapters(_ parameter: String) throws -> String? {
    if parameter.isEmpty { return nil }
    let prefix = "Adapters="
    guard parameter.hasPrefix(prefix), parameter.count > prefix.count else {
      throw GenerationError(description: "unknown parameter \(parameter); known: Adapters=MODULE")
    }
    return String(parameter.dropFirst(prefix.count))
  }

  /// `footfall/live/v1/live.proto` -> `footfall_live_v1_live`.
  static func outputName(_ path: String) -> String {
    let stem = path.hasSuffix(".proto") ? String(path.dropLast(6)) : path
    return stem.split(separator: "/").joined(separator: "_")
  }
}
