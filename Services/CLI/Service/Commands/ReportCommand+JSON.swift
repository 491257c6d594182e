import Messages
import RPC
import RPCTransport

extension ReportCommand {
  /// Asks the report's own RPC and prints its answer as it is.
  static func printJSON(_ report: ProtoReport, _ channel: Channel) async throws {
    switch report.kind {
    case .trend(let request):
      try Printer.json(try await QueryClient(channel).getTrend(request))
    case .funnel(let request):
      try Printer.json(try await QueryClient(channel).getFunnel(request))
    case .events(let request):
      try Printer.json(try await EventAnalysisClient(channel).analyzeEvents(request))
    case .retention(let request):
      try Printer.json(try await RetentionClient(channel).getRetention(request))
    case .overview(let request):
      try Printer.json(try await VisitsClient(channel).getOverview(request))
    case .visitDistribution(let request):
      try Printer.json(try await VisitsClient(channel).getVisitDistribution(request))
    case .pages(let request):
      try Printer.json(try await PagesClient(channel).getPages(request))
    case .sources(let request):
      try Printer.json(try await TrafficClient(channel).getSources(request))
    case .performance(let request):
      try Printer.json(try await PerformanceClient(channel).getPerformance(request))
    case .userTiers(let request):
      try Printer.json(try await UsersClient(channel).getUserTiers(request))
    case .lifecycle(let request):
      try Printer.json(try await UsersClient(channel).getLifecycle(request))
    case .stickiness(let request):
      try Printer.json(try await UsersClient(channel).getStickiness(request))
    case .repurchase(let request):
      try Printer.json(try await UsersClient(channel).getRepurchase(request))
    case .paths(let request):
      try Printer.json(try await PathsClient(channel).getPaths(request))
    case nil: throw CommandFailure.usage("no report is named")
    }
  }
}
