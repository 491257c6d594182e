import Foundation
import ServiceKit
import Testing

/// Resident pages of files, KiB, as the kernel counts them.
private func residentFileKiB() throws -> Int {
  let status = try FileHandle(forReadingAtPath: "/proc/self/status")?.readToEnd()
  let lines = String(decoding: try #require(status), as: UTF8.self).split(separator: "\n")
  let line = try #require(lines.first { $0.hasPrefix("RssFile:") })
  return try #require(Int(line.filter(\.isNumber)))
}

@Suite struct CodePagesTests {
  @Test(arguments: [
    ("7f00-8f00 r-xp 00001000 fe:00 22   /usr/lib/libc.so.6", UInt(0x7f00)..<0x8f00),
    ("7f00-8f00 r-xp 00001000 fe:00 22 /a path with blanks", UInt(0x7f00)..<0x8f00),
    // Relocated constants, variables, memory without a file, the kernel's own.
    ("7f00-8f00 r--p 00001000 fe:00 22 /usr/lib/libc.so.6", nil),
    ("7f00-8f00 rw-p 00001000 fe:00 22 /usr/lib/libc.so.6", nil),
    ("7f00-8f00 rwxp 00001000 fe:00 22 /usr/lib/libc.so.6", nil),
    ("7f00-8f00 r-xp 00000000 00:00 0", nil),
    ("7f00-8f00 r-xp 00000000 00:00 0 [vdso]", nil),
    ("8f00-7f00 r-xp 00000000 fe:00 22 /usr/lib/libc.so.6", nil),
    ("what-ever r-xp 00000000 fe:00 22 /usr/lib/libc.so.6", nil),
    ("", nil),
  ])
  func `only the code of files is given back`(line: String, range: Range<UInt>?) {
    #expect(CodePages.codeRange(Substring(line)) == range)
  }

  @Test func `code is given back and works on`() throws {
    let before = try residentFileKiB()
    CodePages.giveBack()
    let after = try residentFileKiB()
    #expect(after < before * 3 / 4, "\(before) KiB before, \(after) after")
    #expect("\(Date(timeIntervalSince1970: 0))".hasPrefix("1970"))
  }
}
