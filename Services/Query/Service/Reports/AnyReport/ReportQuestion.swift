import Messages
import SwiftProtobuf

/// A report of which everything can be asked that `Reports` offers.
protocol ReportQuestion: UserListing where Answer: ReportAnswer {}

protocol ReportAnswer: Message, CSVReport {
  var info: ProtoAnswerInfo { get }
}

extension ReportQuestion {
  /// Of its message, without the package.
  var name: String { String(Self.protoMessageName.split(separator: ".").last ?? "") }

  func csv(_ engine: QueryEngine, appID: String, control: QueryControl) throws -> CSVText {
    CSVText(try answer(engine, appID: appID, control: control))
  }

  func info(_ engine: QueryEngine, appID: String, control: QueryControl) throws -> ProtoAnswerInfo {
    try answer(engine, appID: appID, control: control).info
  }
}

extension ProtoReport {
  /// - Throws: INVALID_ARGUMENT where no report is named.
  var question: any ReportQuestion {
    get throws(QueryError) {
      switch kind {
      case .trend(let request): request
      case .funnel(let request): request
      case .events(let request): request
      case .retention(let request): request
      case .overview(let request): request
      case .visitDistribution(let request): request
      case .pages(let request): request
      case .sources(let request): request
      case .performance(let request): request
      case .userTiers(let request): request
      case .lifecycle(let request): request
      case .stickiness(let request): request
      case .repurchase(let request): request
      case .paths(let request): request
      case nil: throw .invalid("report", "names no report: one of its fields is required")
      }
    }
  }
}

extension ProtoGetTrendRequest: ReportQuestion {}
extension ProtoGetFunnelRequest: ReportQuestion {}
extension ProtoAnalyzeEventsRequest: ReportQuestion {}
extension ProtoGetRetentionRequest: ReportQuestion {}
extension ProtoGetOverviewRequest: ReportQuestion {}
extension ProtoGetVisitDistributionRequest: ReportQuestion {}
extension ProtoGetPagesRequest: ReportQuestion {}
extension ProtoGetSourcesRequest: ReportQuestion {}
extension ProtoGetPerformanceRequest: ReportQuestion {}
extension ProtoGetUserTiersRequest: ReportQuestion {}
extension ProtoGetLifecycleRequest: ReportQuestion {}
extension ProtoGetStickinessRequest: ReportQuestion {}
extension ProtoGetRepurchaseRequest: ReportQuestion {}
extension ProtoGetPathsRequest: ReportQuestion {}

extension ProtoGetTrendResponse: ReportAnswer {}
extension ProtoGetFunnelResponse: ReportAnswer {}
extension ProtoAnalyzeEventsResponse: ReportAnswer {}
extension ProtoGetRetentionResponse: ReportAnswer {}
extension ProtoGetOverviewResponse: ReportAnswer {}
extension ProtoGetVisitDistributionResponse: ReportAnswer {}
extension ProtoGetPagesResponse: ReportAnswer {}
extension ProtoGetSourcesResponse: ReportAnswer {}
extension ProtoGetPerformanceResponse: ReportAnswer {}
extension ProtoGetUserTiersResponse: ReportAnswer {}
extension ProtoGetLifecycleResponse: ReportAnswer {}
extension ProtoGetStickinessResponse: ReportAnswer {}
extension ProtoGetRepurchaseResponse: ReportAnswer {}
extension ProtoGetPathsResponse: ReportAnswer {}
