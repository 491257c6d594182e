// swift-tools-version: 6.2
// The code generators of `proto/generate`, in a package of their own so that nobody who builds the
// suite builds them.

import PackageDescription

let package = Package(
  name: "footfall-generator",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "protoc-gen-footfall", targets: ["protoc-gen-footfall"])
  ],
  // Exact: another version may generate other code than what is committed.
  dependencies: [
    .package(url: "https://github.com/apple/swift-protobuf", exact: "1.39.0")
  ],
  targets: [
    // Method descriptors, handler protocols, clients and file descriptors from `.proto` files.
    .executableTarget(
      name: "protoc-gen-footfall",
      dependencies: [
        .product(name: "SwiftProtobuf", package: "swift-protobuf"),
        .product(name: "SwiftProtobufPluginLibrary", package: "swift-protobuf"),
        // Not imported: named here so that it is built too.
        .product(name: "protoc-gen-swift", package: "swift-protobuf"),
      ],
      swiftSettings: [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableUpcomingFeature("MemberImportVisibility"),
      ])
  ]
)
