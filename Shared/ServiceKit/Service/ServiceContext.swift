package import Logging
package import RPC

/// What a service gets to build itself from.
package struct ServiceContext: Sendable {
  package let settings: Settings
  /// Exists, with mode 0700 where it was made now.
  package let dataFolder: String
  package let logger: Logger
  /// Empty at first: the service puts tokens in.
  package let tokens: TokenTable
  package let health: HealthBoard
  package let metrics: MetricsRegistry
  /// Ends the process in order, with exit status 1: for failures after which nothing may be acknowledged.
  package let stop: @Sendable (_ reason: String) -> Void

  package init(
    settings: Settings, dataFolder: String, logger: Logger, tokens: TokenTable,
    health: HealthBoard, metrics: MetricsRegistry, stop: @escaping @Sendable (String) -> Void
  ) {
    self.settings = settings
    self.dataFolder = dataFolder
    self.logger = logger
    self.tokens = tokens
    self.health = health
    self.metrics = metrics
    self.stop = stop
  }

  /// A file in the data folder.
  package func file(_ name: String) -> String { "\(dataFolder)/\(name)" }
}

/// What a service consists of, once built.
package struct ServiceParts: Sendable {
  /// Work beside the calls. It runs until it is cancelled; an error ends the process in order.
  package struct Background: Sendable {
    package let name: String
    package let run: @Sendable () async throws -> Void

    package init(_ name: String, run: @escaping @Sendable () async throws -> Void) {
      self.name = name
      self.run = run
    }
  }

  package var handlers: [any ServiceHandlers]
  package var background: [Background]
  /// Called when no new calls are taken any more: ends calls that would go on for ever.
  package var drain: @Sendable () -> Void
  /// Called last, when no handler and no background work runs: closes the store.
  package var close: @Sendable () async throws -> Void

  package init(
    handlers: [any ServiceHandlers], background: [Background] = [],
    drain: @escaping @Sendable () -> Void = {},
    close: @escaping @Sendable () async throws -> Void = {}
  ) {
    self.handlers = handlers
    self.background = background
    self.drain = drain
    self.close = close
  }
}
