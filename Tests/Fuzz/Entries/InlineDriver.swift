import RPC

/// Drives a connection without a loop: everything runs at once, on the one thread there is; timers never fire.
// @unchecked: one thread only.
final class InlineDriver: ConnectionDriver, @unchecked Sendable {
  private final class Executor: TaskExecutor {
    func enqueue(_ job: consuming ExecutorJob) {
      UnownedJob(job).runSynchronously(on: asUnownedTaskExecutor())
    }
  }

  private let executor = Executor()
  private var waiting: [@Sendable () -> Void] = []
  private(set) var isClosed = false

  var isOnLoop: Bool { true }
  var loopIdentity: ObjectIdentifier { ObjectIdentifier(self) }
  var taskExecutor: any TaskExecutor { executor }
  var backgroundExecutor: any TaskExecutor { executor }

  func execute(_ work: @escaping @Sendable () -> Void) { waiting.append(work) }
  func schedule(afterNanoseconds: Int64, _ work: @escaping @Sendable () -> Void) {}
  func flush() {}
  func close() { isClosed = true }

  /// What a loop would do next.
  func runWaiting() {
    while !waiting.isEmpty {
      let works = waiting
      waiting = []
      for work in works { work() }
    }
  }
}

struct SilentObserver: ServerObserver {
  func handlerFailed(_ method: MethodDescriptor, _ error: any Error, requestID: String) {}
  func callEnded(_ record: CallRecord) {}
  func connectionEnded(_ peer: String, _ end: ConnectionEnd, detail: String) {}
}
