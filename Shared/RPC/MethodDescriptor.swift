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

  package init(
    service: String, method: String, kind: Kind, access: Access,
    idempotency: Idempotency = .unknown, defaultDeadlineMilliseconds: Int = 0
  ) {
    self.service = service
    self.method = method
    self.path = "/\(service)/\(method)"
    self.kind = kind
    self.access = access
    self.idempotency = idempotency
    self.defaultDeadlineMilliseconds = defaultDeadlineMilliseconds
  }

  package var description: String { path }
}
