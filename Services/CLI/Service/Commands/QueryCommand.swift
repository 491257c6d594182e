import ArgumentParser
import Foundation
import Messages
import RPC

/// `footfall query`.
struct QueryCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "query", abstract: "Look after the store of reports.", subcommands: [Backup.self])

  struct Backup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Copy the store of reports into a file, while query goes on.",
      discussion: """
        To restore: stop query, put the file in the place of query.sqlite in its data folder, remove query.sqlite-wal and \
        query.sqlite-shm, start query. It goes on with the log from where the copy ends.
        """)

    @Argument(help: "The file to write. One that exists is not overwritten.", completion: .file())
    var file: String
    @OptionGroup var connection: ConnectionOptions

    func run() async throws {
      guard !FileManager.default.fileExists(atPath: file) else {
        throw CommandFailure("\(file) exists already")
      }
      let part = file + ".part"
      guard FileManager.default.createFile(atPath: part, contents: nil, attributes: [.posixPermissions: 0o600]),
        let handle = FileHandle(forWritingAtPath: part)
      else { throw CommandFailure("\(part) cannot be written") }
      do {
        let (offset, bytes) = try await connection.withChannel(to: .query) { channel in
          try await Self.receive(ReportStoreClient(channel), into: handle)
        }
        try handle.synchronize()
        try handle.close()
        try FileManager.default.moveItem(atPath: part, toPath: file)
        Printer.line("\(NumberText.grouped(bytes)) bytes, the log up to offset \(NumberText.grouped(offset))")
      } catch {
        try? FileManager.default.removeItem(atPath: part)
        throw error
      }
    }

    /// - Returns: the log's offset that the file ends at, and its bytes.
    private static func receive(
      _ client: ReportStoreClient, into handle: FileHandle
    ) async throws -> (offset: UInt64, bytes: UInt64) {
      var (offset, expected, received) = (UInt64(0), UInt64(0), UInt64(0))
      for try await chunk in try await client.backup(ProtoBackupRequest()) {
        if received == 0 { (offset, expected) = (chunk.nextOffset, chunk.fileBytes) }
        try handle.write(contentsOf: chunk.data)
        received += UInt64(chunk.data.count)
      }
      guard received == expected, received > 0 else {
        throw CommandFailure("the copy ended after \(received) of \(expected) bytes")
      }
      return (offset, received)
    }
  }
}
