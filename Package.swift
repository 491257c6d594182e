// swift-tools-version: 6.2
// Footfall: open, self-hosted analytics for mini programs.
//
// `Shared/` holds libraries whose arrows point downward only; `Services/` holds one library and one thin
// executable per service. Services never import each other. See docs/architecture.md.

import PackageDescription

let settings: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .enableUpcomingFeature("MemberImportVisibility"),
]

/// Tests/Fuzz/run: the folder of libFuzzer's library. Without it nothing of fuzzing is built.
let fuzzerFolder = Context.environment["FOOTFALL_FUZZ"]
/// Counts which edges an input takes.
let instrumented: [SwiftSetting] = fuzzerFolder == nil ? [] : [.unsafeFlags(["-sanitize=fuzzer"])]

let nio: Target.Dependency = .product(name: "NIOCore", package: "swift-nio")
let nioPosix: Target.Dependency = .product(name: "NIOPosix", package: "swift-nio")
let nioTLS: Target.Dependency = .product(name: "NIOTLS", package: "swift-nio")
let nioSSL: Target.Dependency = .product(name: "NIOSSL", package: "swift-nio-ssl")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let protobuf: Target.Dependency = .product(name: "SwiftProtobuf", package: "swift-protobuf")
let arguments: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let crypto: Target.Dependency = .product(name: "Crypto", package: "swift-crypto")
let lifecycle: Target.Dependency = .product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let signals: Target.Dependency = .product(name: "UnixSignals", package: "swift-service-lifecycle")
let configuration: Target.Dependency = .product(name: "Configuration", package: "swift-configuration")

/// A service: its testable library under `Service/` and its executable under `Command/`.
func service(
  _ name: String, command: String, dependencies: [Target.Dependency] = []
) -> [Target] {
  [
    .target(
      name: name,
      dependencies: ["Events", "Messages", "RPC", "RPCTransport", "ServiceKit", "Store"]
        + dependencies + [logging, protobuf],
      path: "Services/\(name)/Service", swiftSettings: settings),
    .executableTarget(
      name: "\(name)Command", dependencies: [.target(name: name), "RPC", "ServiceKit"],
      path: "Services/\(name)/Command", swiftSettings: settings),
  ]
}

/// A suite of tests that mirrors the folder of the target it tests.
func suite(_ name: String, in folder: String, _ dependencies: [Target.Dependency]) -> Target {
  .testTarget(
    name: "\(name)Tests", dependencies: dependencies, path: "Tests/\(folder)/\(name)",
    swiftSettings: settings)
}

let package = Package(
  name: "footfall",
  platforms: [.macOS(.v15)],
  products: [
    .executable(name: "ingest", targets: ["IngestCommand"]),
    .executable(name: "user-profile", targets: ["UserProfileCommand"]),
    .executable(name: "query", targets: ["QueryCommand"]),
    .executable(name: "live-stats", targets: ["LiveStatsCommand"]),
    .executable(name: "footfall", targets: ["FootfallCommand"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-protobuf", from: "1.39.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-crypto", from: "4.5.2"),
    .package(
      url: "https://github.com/apple/swift-configuration", from: "1.4.0",
      traits: ["JSON", "CommandLineArguments"]),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
  ],
  targets: [
    // The system's libnghttp2; refuses one without the fix for CVE-2026-27135 at install time (Tests/run, compose/up).
    .systemLibrary(
      name: "CNghttp2", path: "Shared/CNghttp2", pkgConfig: "libnghttp2",
      providers: [.apt(["libnghttp2-dev"])]),
    // The system's zlib: gzip for message compression and imports.
    .systemLibrary(
      name: "CZlib", path: "Shared/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
    // The system's zstd: sealed columns of query.
    .systemLibrary(
      name: "CZstd", path: "Shared/CZstd", pkgConfig: "libzstd",
      providers: [.apt(["libzstd-dev"])]),
    // What the C library's allocator can be told.
    .systemLibrary(name: "CAllocator", path: "Shared/CAllocator"),
    // Memory that a thread uses again.
    .systemLibrary(name: "CScratch", path: "Shared/CScratch"),
    // A system call that the C library does not have.
    .systemLibrary(name: "CScheduling", path: "Shared/CScheduling"),
    // The processor's instruction for checksums.
    .systemLibrary(name: "CChecksum", path: "Shared/CChecksum"),
    // The processor's hint of what is read soon.
    .systemLibrary(name: "CPrefetch", path: "Shared/CPrefetch"),
    // One HTTP/2 connection as bytes in, events out. No I/O. The only target that knows nghttp2.
    .target(
      name: "HTTP2", dependencies: ["CNghttp2"], path: "Shared/HTTP2",
      swiftSettings: settings + instrumented),
    // gRPC without sockets: status, metadata, deadlines, framing, routing, handlers, call objects.
    .target(
      name: "RPC", dependencies: ["CZlib", "HTTP2"], path: "Shared/RPC",
      swiftSettings: settings + instrumented),
    // TCP server and client over SwiftNIO: connections, flow control, draining, limits.
    .target(
      name: "RPCTransport",
      dependencies: ["CScheduling", "HTTP2", "RPC", nio, nioPosix, nioTLS, nioSSL, logging],
      path: "Shared/RPCTransport", swiftSettings: settings),
    // Generated protobuf types, method descriptors, server protocols and clients. No hand-written logic.
    .target(
      name: "Messages", dependencies: ["CScratch", "RPC", protobuf], path: "Shared/Messages",
      swiftSettings: settings),
    // What an event is: validated names, limits, the wire decoder, sessions, calendars. Knows no store.
    .target(
      name: "Events", dependencies: ["CChecksum"], path: "Shared/Events",
      resources: [.embedInCode("Resources/scenes.csv"), .embedInCode("Resources/sources.csv")],
      swiftSettings: settings),
    // An app's sources between the messages of the log and the values of Events.
    .target(
      name: "Sources", dependencies: ["Events", "Messages", protobuf], path: "Shared/Sources",
      swiftSettings: settings),
    // A layer under SQLite that gives each page of a file a checksum.
    .target(
      name: "CPageChecks", path: "Shared/CPageChecks", linkerSettings: [.linkedLibrary("sqlite3")]),
    // Opens a SQLite file with our pragmas: one writer, N readers. Hides the SQLite library.
    .target(
      name: "Store",
      dependencies: [
        "CPageChecks",
        .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "GRDBSQLite", package: "GRDB.swift"),
      ],
      path: "Shared/Store", swiftSettings: settings),
    // Follows a remote log from a stored offset and applies each batch exactly once.
    .target(
      name: "Subscription",
      dependencies: [
        "Events", "Messages", "RPC", "RPCTransport", "ServiceKit", "Sources", "Store", crypto,
        logging, protobuf,
      ],
      path: "Shared/Subscription", swiftSettings: settings),
    // What every service needs: configuration, logging, metrics, health, reflection, tokens, signals.
    .target(
      name: "ServiceKit",
      dependencies: [
        "HTTP2", "Messages", "RPC", "RPCTransport", "Store", crypto, lifecycle, signals,
        configuration, logging, nio, nioPosix, protobuf,
      ],
      path: "Shared/ServiceKit", swiftSettings: settings),
    // Seeded random, a manual clock, event fixtures, services started for a test.
    .target(
      name: "TestKit",
      dependencies: ["Events", "Messages", "RPC", "RPCTransport", "ServiceKit", "Store", protobuf],
      path: "Shared/TestKit", swiftSettings: settings),
  ]
    + service("Ingest", command: "ingest", dependencies: ["Sources", crypto])
    + service("UserProfile", command: "user-profile", dependencies: ["Subscription"])
    + service("Query", command: "query", dependencies: ["CAllocator", "CPrefetch", "CZstd", "Sources", "Subscription"])
    + service("LiveStats", command: "live-stats", dependencies: ["Subscription"])
    + [
      // The `footfall` command line: every RPC for people and scripts.
      .target(
        name: "CLI",
        dependencies: [
          "CZlib", "Events", "Messages", "RPC", "RPCTransport", "ServiceKit", arguments, crypto,
          logging, protobuf,
        ],
        path: "Services/CLI/Service", swiftSettings: settings),
      .executableTarget(
        name: "FootfallCommand", dependencies: ["CLI"], path: "Services/CLI/Command",
        swiftSettings: settings),

      // The server of the RPC load test.
      .executableTarget(
        name: "EchoServer", dependencies: ["HTTP2", "Messages", "RPC", "RPCTransport", logging],
        path: "Tests/Load/EchoServer", swiftSettings: settings),
      // State of deduplication at scale, for Tests/Load.
      .executableTarget(
        name: "DedupLoad", dependencies: ["CAllocator", "Ingest", "Store", "TestKit"], path: "Tests/Load/DedupLoad",
        swiftSettings: settings),
      // The same for a full method: token, scope, figures, generated types.
      .executableTarget(
        name: "MethodServer",
        dependencies: ["Messages", "RPC", "RPCTransport", "ServiceKit", logging, protobuf],
        path: "Tests/Load/MethodServer", swiftSettings: settings),

      // What the fuzzers run, without a fuzzer: their kept inputs are replayed as a test.
      .target(
        name: "FuzzEntries", dependencies: ["HTTP2", "RPC"], path: "Tests/Fuzz/Entries",
        swiftSettings: settings + instrumented),
      .testTarget(
        name: "FuzzReplayTests", dependencies: ["FuzzEntries"], path: "Tests/Fuzz/Replay",
        swiftSettings: settings),
      // Counts the calls that one channel makes against it.
      .executableTarget(
        name: "ChannelLoad", dependencies: ["RPC", "RPCTransport"],
        path: "Tests/Load/ChannelLoad", swiftSettings: settings),

      // gRPC's interoperability tests, Tests/Conformance: the generated code, our server and our client.
      .target(
        name: "InteropMessages", dependencies: ["Messages", "RPC", protobuf],
        path: "Tests/Conformance/Swift/Generated", swiftSettings: settings),
      .executableTarget(
        name: "InteropServer",
        dependencies: ["InteropMessages", "Messages", "RPC", "RPCTransport", logging, protobuf],
        path: "Tests/Conformance/Swift/Server", swiftSettings: settings),
      .executableTarget(
        name: "InteropClient",
        dependencies: ["InteropMessages", "Messages", "RPC", "RPCTransport", protobuf],
        path: "Tests/Conformance/Swift/Client", swiftSettings: settings),

      suite("HTTP2", in: "Shared", ["CNghttp2", "HTTP2", "TestKit"]),
      suite("RPC", in: "Shared", ["RPC", "HTTP2"]),
      suite("RPCTransport", in: "Shared", ["HTTP2", "RPCTransport", "RPC", logging]),
      suite("Events", in: "Shared", ["Events", "Messages", "TestKit", protobuf]),
      suite("Store", in: "Shared", ["Store", "TestKit"]),
      suite("Subscription", in: "Shared", [
        "Subscription", "Events", "Messages", "RPC", "ServiceKit", "Store", "TestKit", protobuf,
      ]),
      suite("ServiceKit", in: "Shared", [
        "ServiceKit", "HTTP2", "Messages", "RPC", "RPCTransport", "TestKit", logging, protobuf,
      ]),
      suite("Ingest", in: "Services", [
        "Ingest", "Events", "Messages", "RPC", "RPCTransport", "ServiceKit", "Store", "TestKit", crypto,
        logging, protobuf,
      ]),
      suite("UserProfile", in: "Services", [
        "UserProfile", "Events", "Messages", "RPC", "Store", "Subscription", "TestKit", protobuf,
      ]),
      suite("Query", in: "Services", [
        "Query", "Events", "Messages", "RPC", "Store", "Subscription", "TestKit", protobuf,
      ]),
      suite("LiveStats", in: "Services", [
        "LiveStats", "Events", "Messages", "RPC", "Store", "Subscription", "TestKit", protobuf, logging,
      ]),
      suite("CLI", in: "Services", ["CLI", "CZlib", "Messages", "TestKit", protobuf]),
      suite("Suite", in: "Suite", [
        "Ingest", "UserProfile", "Query", "LiveStats", "CLI", "Messages", "RPC", "RPCTransport", "TestKit",
        protobuf,
      ]),
    ]
)

if let fuzzerFolder {
  package.targets.append(
    // libFuzzer over one of the entries.
    .executableTarget(
      name: "Fuzzer", dependencies: ["FuzzEntries"], path: "Tests/Fuzz/Fuzzer",
      swiftSettings: settings,
      linkerSettings: [
        .unsafeFlags(["-L\(fuzzerFolder)", "-lclang_rt.fuzzer_no_main-x86_64"]),
        .linkedLibrary("stdc++"),
      ]))
}
