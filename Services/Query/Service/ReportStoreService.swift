import Dispatch
import Foundation
package import Messages
package import RPC
import Store
import Synchronization

/// Keeping the store: backups.
package final class ReportStoreService: ReportStoreHandlers {
  private let engine: QueryEngine
  /// Where a backup is made, beside the store.
  private let path: String
  private let queue = DispatchQueue(label: "footfall.backup")
  private let isBusy = Mutex(false)

  package init(engine: QueryEngine) {
    self.engine = engine
    path = engine.store.path + "-backup"
    // Of a process that was killed meanwhile.
    try? FileManager.default.removeItem(atPath: path)
  }

  package func backup(
    _ request: ProtoBackupRequest, responses: ResponseWriter<ProtoBackupChunk>,
    context: CallContext
  ) async throws {
    try begin()
    // Where it cannot be removed the next start tries again.
    defer {
      try? FileManager.default.removeItem(atPath: path)
      isBusy.withLock { $0 = false }
    }
    try await ReportRunner.mappingErrors {
      let position = try await onQueue { [engine, path] in try engine.copy(to: path) }
      let file = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
      defer { try? file.close() }
      try await send(file, position, responses)
    }
  }

  private func begin() throws {
    let isFirst = isBusy.withLock { isBusy in
      defer { isBusy = true }
      return !isBusy
    }
    guard isFirst else {
      throw RPCError(.resourceExhausted, "another backup is being made: ask again later")
    }
  }

  private func send(
    _ file: FileHandle, _ position: AppliedPosition, _ responses: ResponseWriter<ProtoBackupChunk>
  ) async throws {
    var chunk = ProtoBackupChunk()
    chunk.nextOffset = position.nextOffset
    chunk.fileBytes = try file.seekToEnd()
    try file.seek(toOffset: 0)
    while true {
      chunk.data = try await onQueue { try file.read(upToCount: Limits.backupChunkBytes) ?? Data() }
      if chunk.data.isEmpty { return }
      try await responses.send(chunk)
      chunk = ProtoBackupChunk()
    }
  }

  /// What waits for the disk, off the connections' threads.
  private func onQueue<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
      queue.async { continuation.resume(with: Result { try body() }) }
    }
  }
}

extension QueryEngine {
  /// Writes the store as of one commit to a new file, while everything goes on.
  ///
  /// - Returns: how far the copy holds the log.
  package func copy(to path: String) throws -> AppliedPosition {
    do {
      return try store.copy(to: path) { try EngineFile.loadPosition($0) }
    } catch let error as StoreError where error.code == .diskFull {
      throw QueryError(.resourceExhausted, "the disk has no room for a copy of the store")
    }
  }
}
