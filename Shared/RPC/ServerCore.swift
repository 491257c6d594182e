/// What all connections of one server share.
package final class ServerCore: Sendable {
  package let router: Router
  /// The router's table, which the router keeps.
  let routes: RouteTable
  package let limits: ServerLimits
  let authorizer: any Authorizer
  let epoch: AuthorizationEpoch?
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
    routes = router.table
    self.limits = limits
    self.authorizer = authorizer
    epoch = authorizer.epoch
    self.observer = observer
    self.sampling = sampling
  }
}
