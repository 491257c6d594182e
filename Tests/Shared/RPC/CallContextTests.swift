import RPC
import Testing

@Suite struct CallContextTests {
  static let method = MethodDescriptor(
    service: "a.B", method: "C", kind: .unary, access: .scope("query:read"))

  static func context(app: String?) -> CallContext {
    CallContext(
      method: method,
      principal: Principal(tokenID: "t", appID: app, scopes: ["query:read"]))
  }

  @Test func `the tenant comes from the token`() throws {
    #expect(try Self.context(app: "shop").appID(requested: "") == "shop")
    #expect(try Self.context(app: "shop").appID(requested: "shop") == "shop")
    #expect(try Self.context(app: nil).appID(requested: "shop") == "shop")
  }

  @Test func `another app than the token's is denied`() {
    let error = #expect(throws: RPCError.self) {
      try Self.context(app: "shop").appID(requested: "other")
    }
    #expect(error?.code == .permissionDenied)
  }

  @Test func `a token for any app needs a named one`() {
    let error = #expect(throws: RPCError.self) { try Self.context(app: nil).appID(requested: "") }
    #expect(error?.code == .invalidArgument)
  }

  @Test func `admin holds every scope and others only their own`() {
    #expect(Principal(tokenID: "t", appID: nil, scopes: ["admin"]).holds("profile:erase"))
    #expect(!Principal(tokenID: "t", appID: nil, scopes: ["query:read"]).holds("live:read"))
  }
}
