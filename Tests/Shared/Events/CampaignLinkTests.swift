import Events
import TestKit
import Testing

@Suite struct CampaignLinkTests {
  private static func link(_ change: (inout CampaignLink) -> Void) -> CampaignLink {
    var link = CampaignLink()
    change(&link)
    return link
  }

  @Test func `a link has our parameters in a fixed order, then the app's own`() {
    let link = Self.link {
      $0.pagePath = "pages/tea/oolong"
      ($0.source, $0.medium, $0.name) = ("newsletter", "email", "spring")
      ($0.content, $0.term, $0.qrID) = ("button", "oolong tea", "poster-1")
      $0.others = [.init(name: "id", value: "42")]
    }
    #expect(
      link.path
        == "pages/tea/oolong?utm_source=newsletter&utm_medium=email&utm_campaign=spring&utm_content=button"
        + "&utm_term=oolong%20tea&qr_id=poster-1&id=42")
    #expect(Self.link { $0.pagePath = "pages/a" }.path == "pages/a")
  }

  @Test(arguments: [
    ("a b", "a%20b"), ("a+b", "a%2Bb"), ("a&b=c", "a%26b%3Dc"), ("100%", "100%25"), ("é", "%C3%A9"),
    ("春茶", "%E6%98%A5%E8%8C%B6"), ("-._~", "-._~"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("\u{1F375}", "%F0%9F%8D%B5"),
  ])
  func `values are percent-encoded and come back`(value: String, encoded: String) throws {
    let link = Self.link {
      $0.pagePath = "pages/a"
      $0.source = value
    }
    #expect(link.path == "pages/a?utm_source=\(encoded)")
    #expect(try CampaignLink(parsing: link.path) == link)
  }

  @Test func `random links come back as they were`() throws {
    var random = SeededRandom(seed: 20_261_128)
    let letters = Array("ab019-._~ %+&=?#/\\\"'<>é春茶\u{1F375}\u{301}\n\u{0}")
    func text() -> String { String((0..<random.below(12)).map { _ in random.pick(letters) }) }
    for _ in 0..<2_000 {
      let link = Self.link {
        $0.pagePath = random.pick(["pages/a", "pages/b/c", "包/页"])
        ($0.source, $0.medium, $0.name) = (text(), text(), text())
        ($0.content, $0.term, $0.qrID) = (text(), text(), text())
        $0.others = (0..<random.below(3)).map { .init(name: "own\($0)\(text())", value: text()) }
      }
      #expect(try CampaignLink(parsing: link.path) == link, "\(link.path)")
    }
  }

  @Test func `what others wrote is read`() throws {
    let link = try CampaignLink(parsing: "/pages/a?utm_source=x&flag&=&empty=&name=a+b&&utm_medium=%e6%98%a5#top")
    #expect(link.pagePath == "pages/a" && link.source == "x" && link.medium == "春")
    // A plus is a plus: mini programs hand it over as it is.
    #expect(link.others.map(\.name) == ["flag", "", "empty", "name"])
    #expect(link.others.map(\.value) == ["", "", "", "a+b"])
    #expect(try CampaignLink(parsing: "?qr_id=t1").qrID == "t1")
    #expect(try CampaignLink(parsing: "") == CampaignLink())
    #expect(try CampaignLink(parsing: "pages/a?x=a?b").others == [.init(name: "x", value: "a?b")])
  }

  @Test(arguments: [
    ("pages/a?utm_source=%", CampaignLink.Fault.badEncoding("%")),
    ("pages/a?utm_source=a%2", .badEncoding("a%2")), ("pages/a?utm_source=%zz", .badEncoding("%zz")),
    ("pages/%a?x=1", .badEncoding("pages/%a")), ("pages/a?x=%FF", .badUTF8("%FF")),
    ("pages/a?x=%ED%A0%80", .badUTF8("%ED%A0%80")), ("pages/a?x=1&x=2", .repeated("x")),
    ("pages/a?qr_id=1&qr%5Fid=2", .repeated("qr_id")),
  ])
  func `a broken link is refused with what is wrong`(text: String, fault: CampaignLink.Fault) {
    #expect(throws: fault) { try CampaignLink(parsing: text) }
  }
}
