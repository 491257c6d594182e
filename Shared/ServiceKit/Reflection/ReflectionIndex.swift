internal import Messages
internal import SwiftProtobuf

/// Finds the files of `.proto` definitions by what they declare.
struct ReflectionIndex: Sendable {
  private struct File {
    let bytes: [UInt8]
    let dependencies: [String]
  }

  private var files: [String: File] = [:]
  private var symbols: [String: String] = [:]
  /// File by extended type and number.
  private var extensions: [String: [Int32: String]] = [:]

  /// - Parameters:
  ///   - services: only the files that these need are shown.
  /// - Throws: where an embedded descriptor does not decode, which is a mistake of ours.
  init(_ all: [ProtoFile] = ProtoFile.all, services: [String]) throws {
    var descriptors: [String: (Google_Protobuf_FileDescriptorProto, [UInt8])] = [:]
    for file in all {
      let bytes = file.descriptor
      let descriptor = try Google_Protobuf_FileDescriptorProto(serializedBytes: bytes)
      descriptors[file.name] = (descriptor, bytes)
    }
    let roots = descriptors.values.filter { descriptor, _ in
      descriptor.service.contains { services.contains("\(descriptor.package).\($0.name)") }
    }
    var waiting = roots.map(\.0.name)
    while let name = waiting.popLast() {
      guard files[name] == nil, let (descriptor, bytes) = descriptors[name] else { continue }
      files[name] = File(bytes: bytes, dependencies: descriptor.dependency)
      add(descriptor)
      waiting += descriptor.dependency
    }
  }

  /// The file and all that it imports, itself first; nil where there is none of this name.
  func file(named name: String) -> [[UInt8]]? {
    guard files[name] != nil else { return nil }
    var seen: Set<String> = []
    var found: [[UInt8]] = []
    var waiting = [name]
    while let next = waiting.popLast() {
      guard seen.insert(next).inserted, let file = files[next] else { continue }
      found.append(file.bytes)
      waiting += file.dependencies
    }
    return found
  }

  func file(containing symbol: String) -> [[UInt8]]? { symbols[symbol].flatMap(file(named:)) }

  func file(extending type: String, number: Int32) -> [[UInt8]]? {
    extensions[type]?[number].flatMap(file(named:))
  }

  /// Numbers of a type's extensions; nil where the type is unknown.
  func extensionNumbers(of type: String) -> [Int32]? {
    guard symbols[type] != nil else { return nil }
    return extensions[type].map { $0.keys.sorted() } ?? []
  }

  private mutating func add(_ file: Google_Protobuf_FileDescriptorProto) {
    let scope = file.package.isEmpty ? "" : "\(file.package)."
    for message in file.messageType { add(message, scope: scope, file: file.name) }
    for item in file.enumType { add(item, scope: scope, file: file.name) }
    for item in file.extension { add(extension: item, scope: scope, file: file.name) }
    for service in file.service {
      symbols[scope + service.name] = file.name
      for method in service.method {
        symbols["\(scope)\(service.name).\(method.name)"] = file.name
      }
    }
  }

  private mutating func add(
    _ message: Google_Protobuf_DescriptorProto, scope: String, file: String
  ) {
    let name = scope + message.name
    symbols[name] = file
    for field in message.field { symbols["\(name).\(field.name)"] = file }
    for item in message.enumType { add(item, scope: "\(name).", file: file) }
    for item in message.extension { add(extension: item, scope: "\(name).", file: file) }
    for nested in message.nestedType { add(nested, scope: "\(name).", file: file) }
  }

  private mutating func add(
    _ item: Google_Protobuf_EnumDescriptorProto, scope: String, file: String
  ) {
    symbols[scope + item.name] = file
    // By the rules of C++, a value belongs to the scope that its enum stands in.
    for value in item.value { symbols[scope + value.name] = file }
  }

  private mutating func add(
    extension field: Google_Protobuf_FieldDescriptorProto, scope: String, file: String
  ) {
    symbols[scope + field.name] = file
    // Written with a leading dot: fully qualified.
    extensions[String(field.extendee.drop { $0 == "." }), default: [:]][field.number] = file
  }
}
