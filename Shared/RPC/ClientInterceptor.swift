/// A call as its interceptors see it, before anything of it is sent.
package struct OutgoingCall: Sendable {
  package let method: MethodDescriptor
  /// With the metadata that will be sent: an interceptor adds to it here.
  package var options: CallOptions
  /// When the call began, on the monotonic clock.
  package let beganNanoseconds: Int64

  package init(method: MethodDescriptor, options: CallOptions, beganNanoseconds: Int64) {
    self.method = method
    self.options = options
    self.beganNanoseconds = beganNanoseconds
  }
}

/// What a call came to.
package struct CallOutcome: Sendable {
  /// nil: OK.
  package let error: RPCError?
  /// Attempts that a server saw or could have seen, the first included.
  package let attempts: Int
  /// From the call's beginning to its end.
  package let durationNanoseconds: Int64

  package init(error: RPCError?, attempts: Int, durationNanoseconds: Int64) {
    self.error = error
    self.attempts = attempts
    self.durationNanoseconds = durationNanoseconds
  }

  package var code: StatusCode { error?.code ?? .ok }
}

/// Sees every call of a channel. Those of a channel begin in their order and end in the reverse one.
///
/// Both are called on any thread and must not block. What an interceptor wants to know at the end it finds in the call: its own
/// metadata, for instance.
package protocol ClientInterceptor: Sendable {
  /// Once for a call, however often it is repeated.
  ///
  /// - Throws: the call's failure: nothing is sent. The interceptors before it see that end.
  func callBegins(_ call: inout OutgoingCall) throws(RPCError)
  /// Once for every call that began, with a stream when its status has been read, it was cancelled or let go.
  func callEnded(_ call: OutgoingCall, _ outcome: CallOutcome)
}

extension ClientInterceptor {
  package func callEnded(_ call: OutgoingCall, _ outcome: CallOutcome) {}
}

/// The interceptors of one call, and the one end that each of them sees.
package struct InterceptedCall: Sendable {
  package private(set) var call: OutgoingCall
  private var begun: ArraySlice<any ClientInterceptor>

  /// - Throws: what an interceptor threw.
  package init(_ call: OutgoingCall, _ interceptors: [any ClientInterceptor]) throws(RPCError) {
    self.call = call
    begun = interceptors[..<0]
    for index in interceptors.indices {
      do {
        try interceptors[index].callBegins(&self.call)
      } catch {
        end(error, attempts: 0)
        throw error
      }
      begun = interceptors[...index]
    }
  }

  /// - Parameter error: nil: OK.
  package func end(_ error: RPCError?, attempts: Int) {
    guard !begun.isEmpty else { return }
    let outcome = CallOutcome(
      error: error, attempts: attempts,
      durationNanoseconds: MonotonicClock.now - call.beganNanoseconds)
    for interceptor in begun.reversed() { interceptor.callEnded(call, outcome) }
  }
}
