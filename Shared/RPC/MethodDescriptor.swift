/// What is fixed about a method by its `.proto` file.
package final class MethodDescriptor: Sendable, CustomStringConvertible {
  package enum Kind: Sendable { case unary, clientStreaming, serverStreaming, bidirectional }

  /// What a caller needs.
  package enum Access: Sendable, Equatable {
    /// Nothing: health, and reflection on loopback.
    case open
    /// A token that holds this scope.
    case scope(String)
  }

  package enum Idempotency: Sendable { case unknown, idempotent, noSideEffects }

  /// Who is refused last when the server is full: see `Admission`.
  package enum Priority: Int, Sendable, CaseIterable {
    /// Health, and what must work when nothing else does.
    case critical
    /// Operators, and the erasure of a person's data.
    case high
    /// Ingestion; everything that nothing else is said of.
    case normal
    /// Queries: costly, and somebody can ask again.
    case low
  }

  /// `footfall.ingest.v1.Ingest`.
  package let service: String
  /// `Collect`.
  package let method: String
  /// `/footfall.ingest.v1.Ingest/Collect`.
  package let path: String
  package let kind: Kind
  package let access: Access
  package let idempotency: Idempotency
  /// Deadline of a client's call that gives none, ms. 0: none.
  package let defaultDeadlineMilliseconds: Int
  package let priority: Priority

  /// - Parameter priority: nil: critical for `grpc.health.v1`, high for what the scope `admin` or one that ends in `:erase` opens,
  ///   low for what one that ends in `:read` opens, else normal.
  package init(
    service: String, method: String, kind: Kind, access: Access,
    idempotency: Idempotency = .unknown, defaultDeadlineMilliseconds: Int = 0,
    priority: Priority? = nil
  ) {
    self.priority = priority ?? Self.priority(service, access)
    self.service = service
    self.method = method
    self.path = "/\(service)/\(method)"
    self.kind = kind
    self.access = access
    self.idempotency = idempotency
    self.defaultDeadlineMilliseconds = defaultDeadlineMilliseconds
  }

  private static func priority(_ service: String, _ access: Access) -> Priority {
    if service.hasPrefix("grpc.health.") { return .critical }
    guard case .scope(let scope) = access else { return .normal }
    if scope == "admin" || scope.hasSuffix(":erase") { return .high }
    return scope.hasSuffix(":read") ? .low : .normal
  }

  package var description: String { path }
}
