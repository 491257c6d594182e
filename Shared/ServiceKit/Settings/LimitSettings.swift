internal import HTTP2
package import RPC

/// Every bound of the RPC layer as a setting: the one list from which flags, help and the documents' tables come.
package enum LimitSettings {
  package struct Row: Sendable {
    package let setting: Setting<Int>
    package let limit: WritableKeyPath<ServerLimits, Int> & Sendable
    /// A setting of 0 stands for a limit that nothing reaches.
    let zeroMeansNever: Bool
  }

  package struct Switch: Sendable {
    package let setting: Setting<Bool>
    package let limit: WritableKeyPath<ServerLimits, Bool> & Sendable
  }

  static let group = "Limits of RPC"

  package static let rows: [Row] = connections + calls + messages + headers + conduct + timers

  private static let connections: [Row] = [
    row("connections-max", "connections", 1...65_536, \.connectionsMax, "Connections at once; one more is closed on arrival."),
    row("connections-per-address-max", "connections", 1...65_536, \.connectionsPerAddressMax,
      "Connections of one address at once, loopback apart; one more is closed on arrival."),
  ]

  private static let calls: [Row] = [
    row("concurrent-streams-max", "calls", 1...65_536, \.http2.concurrentStreamsMax,
      "Calls that a client may have open on one connection."),
    row("running-handlers-max", "calls", 1...65_536, \.runningHandlersMax,
      "Calls of one connection whose handlers run at once; one more is answered RESOURCE_EXHAUSTED."),
    row("running-calls-max", "calls", 16...1_048_576, \.runningCallsMax,
      "Calls of the whole service that run at once. Queries may take a part of them, ingest more, health and erasure all."),
    row("running-calls-per-app-percent", "%", 1...100, \.runningCallsPerAppPercent,
      "Share of --running-calls-max that one app may hold once half of it is taken."),
    row("pushback-milliseconds", "ms", 0...600_000, \.pushbackMilliseconds,
      "How long a client that was refused is asked to wait, up to twice as long (grpc-retry-pushback-ms)."),
    row("refusing-window-bytes", "bytes", 16_384...(16 << 20), \.refusingWindowBytes,
      "Least receive window of a connection on which calls are refused, until a second after the last."),
  ]

  private static let messages: [Row] = [
    row("message-bytes-max", "bytes", 1_024...(64 << 20), \.messageBytesMax,
      "One request message, unpacked; a larger one is answered RESOURCE_EXHAUSTED by its length, unread."),
    row("unpacked-ratio-max", "times", 1...1_032, \.unpackedRatioMax,
      "A packed request message that unpacks to more than 1 MiB: at most so many times its packed size. 1032: as large as gzip can."),
    row("response-bytes-max", "bytes", 1_024...(1 << 30), \.responseBytesMax,
      "One response message, before it is packed; a larger one becomes RESOURCE_EXHAUSTED."),
    row("compress-responses-from-bytes", "bytes", 0...(1 << 30), \.compressResponsesFromBytes,
      "Responses this large are packed where the client takes gzip. 0: only where a handler asks for it.",
      zeroMeansNever: true),
    row("unsent-bytes-max", "bytes", 4_096...(64 << 20), \.unsentBytesMax,
      "What a handler may have unsent on one stream before it waits for its client."),
    row("connection-unsent-bytes-max", "bytes", 65_536...(1 << 30), \.connectionUnsentBytesMax,
      "What may be unsent on all streams of one connection; beyond it calls are refused."),
    row("loop-message-bytes-max", "bytes", 0...(64 << 20), \.loopMessageBytesMax,
      "Messages this large are decoded and encoded off the event loop."),
    row("stream-window-bytes", "bytes", 65_535...(1 << 30), \.http2.streamWindowBytes,
      "What a client may send on one call before the handler has read it."),
    row("connection-window-bytes", "bytes", 65_535...(1 << 30), \.http2.connectionWindowBytes,
      "What a client may send on one connection before handlers have read it, at most: it begins with 64 KiB."),
  ]

  private static let headers: [Row] = [
    row("header-fields-max", "fields", 16...1_024, \.http2.headerFieldsMax,
      "Fields of one request's headers; more are answered RESOURCE_EXHAUSTED."),
    row("header-bytes-max", "bytes", 1_024...65_535, \.http2.headerBytesMax,
      "One request's headers, each field as name + value + 32; more are answered RESOURCE_EXHAUSTED."),
    row("header-flood-factor", "times", 1...100, \.http2.headerFloodFactor,
      "Headers beyond this many times a limit end the connection."),
    row("trailer-bytes-max", "bytes", 512...65_535, \.trailerBytesMax,
      "The trailers that are sent: what goes beyond is left out, the status never."),
  ]

  private static let conduct: [Row] = [
    row("outbound-frames-max", "frames", 100...1_000_000, \.http2.outboundFramesMax,
      "Answers that may wait in HTTP/2; a client that causes more without reading them is cut."),
    row("free-streams-kept", "streams", 0...65_536, \.http2.freeStreamsKept, "Free streams that an event loop keeps for the next calls, 2 KiB each."),
    row("resets-burst", "resets", 1...1_000_000, \.http2.resetsBurst, "Calls that a client may cancel at once; more cut the connection."),
    row("resets-per-second", "resets", 1...1_000_000, \.http2.resetsPerSecond, "Calls that a client may cancel each second for ever."),
    row("own-resets-burst", "resets", 1...1_000_000, \.http2.ownResetsBurst, "Those of them that a client may send at once whatever other clients do."),
    row("common-resets-burst", "resets", 1...1_000_000, \.http2.commonResetsBurst, "Beyond their own: what all clients of an event loop may cancel at once."),
    row("common-resets-per-second", "resets", 1...1_000_000, \.http2.commonResetsPerSecond, "Beyond their own: what all clients of an event loop may cancel each second for ever."),
    row("nuisances-burst", "frames", 1...1_000_000, \.http2.nuisancesBurst,
      "Frames without use that a client may send at once; more cut the connection."),
    row("nuisances-per-second", "frames", 1...1_000_000, \.http2.nuisancesPerSecond,
      "Frames without use that a client may send each second for ever."),
    row("ping-permit-milliseconds", "ms", 0...86_400_000, \.http2.pingPermitMilliseconds,
      "How often a client may ask by PING whether the service is there while calls run."),
    row("ping-permit-idle-milliseconds", "ms", 0...86_400_000, \.http2.pingPermitIdleMilliseconds,
      "The same while no call runs."),
    row("ping-strikes-max", "pings", 0...1_000, \.http2.pingStrikesMax,
      "PINGs that may come sooner; the next one ends the connection with too_many_pings."),
  ]

  private static let timers: [Row] = [
    row("sweep-milliseconds", "ms", 10...60_000, \.sweepMilliseconds,
      "How often the timers below are looked at: each may be late by as much."),
    row("preface-milliseconds", "ms", 100...600_000, \.prefaceMilliseconds,
      "A client that has not sent its preface and SETTINGS by then is cut; a TLS handshake has as long."),
    row("settings-milliseconds", "ms", 100...600_000, \.settingsMilliseconds,
      "A client that has not acknowledged our SETTINGS by then is cut."),
    row("header-block-milliseconds", "ms", 100...600_000, \.headerBlockMilliseconds,
      "Headers that take longer to come end the connection."),
    row("message-idle-milliseconds", "ms", 100...86_400_000, \.messageIdleMilliseconds,
      "A message of which nothing more has come for so long ends its call."),
    row("write-stall-milliseconds", "ms", 100...86_400_000, \.writeStallMilliseconds,
      "A client that takes less than --write-rate-min for so long, while more waits, loses its stream or connection."),
    row("write-rate-min", "bytes/s", 1...(1 << 30), \.writeRateMin, "What a client has to take each second, while more waits for it."),
    row("keepalive-milliseconds", "ms", 1_000...86_400_000, \.keepaliveMilliseconds,
      "A connection from which nothing has come for so long is asked by PING."),
    row("keepalive-timeout-milliseconds", "ms", 100...600_000, \.keepaliveTimeoutMilliseconds,
      "A connection that does not answer within this time is cut."),
    row("connection-idle-milliseconds", "ms", 0...86_400_000, \.connectionIdleMilliseconds,
      "A connection without a call for so long is ended in order. 0: never."),
    row("connection-age-milliseconds", "ms", 0...(30 * 86_400_000), \.connectionAgeMilliseconds,
      "A connection this old, +-10 %, is ended in order. 0: never."),
    row("connection-age-grace-milliseconds", "ms", 0...86_400_000, \.connectionAgeGraceMilliseconds,
      "How long its calls may go on then. 0: for ever."),
    row("drain-round-trip-milliseconds", "ms", 10...60_000, \.drainRoundTripMilliseconds,
      "A client that does not answer our PING does not hold an orderly end up for longer."),
  ]

  package static let switches: [Switch] = [
    Switch(
      setting: Setting<Bool>.toggle(
        "connections-per-address-hold-for-loopback",
        help: "Counts loopback's connections by address too; a proxy on this machine brings everybody from there."
      ).grouped(group), limit: \.connectionsPerAddressHoldForLoopback),
    Switch(
      setting: Setting<Bool>.toggle(
        "pings-without-calls",
        help: "Lets clients ask as often while no call runs as while one does."
      ).grouped(group), limit: \.http2.pingsWithoutCalls),
  ]

  package static var definitions: [SettingDefinition] {
    rows.map(\.setting.definition) + switches.map(\.setting.definition)
  }

  /// The limits that were set.
  ///
  /// - Throws: `SettingsError` where two of them contradict each other.
  package static func limits(_ settings: Settings) throws(SettingsError) -> ServerLimits {
    var limits = ServerLimits()
    for row in rows {
      let value = settings[row.setting]
      limits[keyPath: row.limit] = row.zeroMeansNever && value == 0 ? .max : value
    }
    for one in switches { limits[keyPath: one.limit] = settings[one.setting] }
    var problems: [String] = []
    if limits.http2.outboundFramesMax <= limits.http2.concurrentStreamsMax {
      problems.append("--outbound-frames-max: must be more than --concurrent-streams-max")
    }
    if limits.unsentBytesMax >= limits.connectionUnsentBytesMax {
      problems.append("--connection-unsent-bytes-max: must be more than --unsent-bytes-max")
    }
    guard problems.isEmpty else { throw SettingsError(problems: problems) }
    return limits
  }

  private static func row(
    _ name: String, _ unit: String, _ range: ClosedRange<Int>,
    _ limit: WritableKeyPath<ServerLimits, Int> & Sendable, _ help: String,
    zeroMeansNever: Bool = false
  ) -> Row {
    let value = ServerLimits()[keyPath: limit]
    let text = zeroMeansNever && value == .max ? 0 : value
    return Row(
      setting: Setting<Int>.integer(name, default: text, in: range, unit: unit, help: help)
        .grouped(group),
      limit: limit, zeroMeansNever: zeroMeansNever)
  }
}
