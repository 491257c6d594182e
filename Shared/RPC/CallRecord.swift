/// What a log says about one call that is over.
package struct CallRecord: Sendable {
  /// nil: the request never reached a method.
  package let method: MethodDescriptor?
  package let status: StatusCode
  /// From the request's headers to the status.
  package let nanoseconds: Int64
  package let requestBytes: Int
  package let responseBytes: Int
  /// `127.0.0.1:51234`.
  package let peer: String
  /// Of the token; empty: none was needed or none was good.
  package let tokenID: String
  /// The app that the token speaks for; nil: any, or no token.
  package let appID: String?
  package let requestID: String
  package let traceID: String
  /// Whether it is told because it failed, rather than as one of the share that is always told.
  package let isFault: Bool
}

/// Which calls are told to `ServerObserver.callEnded`: a share of all, and all that failed by a fault of the server.
package struct CallSampling: Sendable {
  /// A call is told where its number is below this.
  let threshold: UInt64

  /// - Parameter share: 0...1.
  package init(share: Double = 0) {
    precondition((0...1).contains(share), "a share of calls: 0...1")
    threshold = share >= 1 ? .max : UInt64(share * 0x1p64)
  }

  /// INTERNAL, UNKNOWN and DATA_LOSS are never the caller's doing.
  @inline(__always)
  static func isFault(_ status: StatusCode) -> Bool {
    status == .internal || status == .unknown || status == .dataLoss
  }
}
