/// What all connections of one server share.
package final class ServerCore: Sendable {
  package let router: Router
  package let limits: ServerLimits
  let authorizer: any Authorizer
  let observer: any ServerObserver
  let sampling: CallSampling
  package let admission: Admission
  package let connections = ConnectionStatistics()

  package init(
    router: Router, limits: ServerLimits, authorizer: any Authorizer, observer: any ServerObserver,
    sampling: CallSampling = CallSampling()
  ) {
    limits.check()
    admission = Admission(limits)
    self.router = router
    self.limits = limits
    self.authorizer = authorizer
    self.observer = observer
    self.sampling = sampling
  }
}
