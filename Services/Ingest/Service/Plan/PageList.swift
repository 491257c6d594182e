import Events
import Messages

/// The rules of an app's page list.
enum PageList {
  static func violations(of pages: [String]) -> [ProtoPlanViolation] {
    guard pages.count <= Limits.Plan.pagesMax else {
      return [
        ProtoPlanViolation("pages", .tooMany, "at most \(Limits.Plan.pagesMax); got \(pages.count)")
      ]
    }
    var known: Set<String> = []
    return pages.enumerated().compactMap { index, page in
      let field = "pages[\(index)]"
      guard PagePath(page) != nil else {
        return ProtoPlanViolation(
          field, page.isEmpty ? .required : .badName,
          "a path of 1-\(EventLimits.pagePathBytesMax) bytes without its query; got "
            + "\(DefinitionCheck.quoted(page)), \(page.utf8.count) bytes")
      }
      guard !known.insert(page).inserted else { return nil }
      return ProtoPlanViolation(field, .duplicate, "\(DefinitionCheck.quoted(page)) is there twice")
    }
  }
}
