internal import NIOPosix

/// Runs the handlers of large messages, on threads of its own that give way to the event loops where processors are short: who
/// waits for a small answer is not held up by those who parse megabytes.
final class BackgroundExecutor: TaskExecutor {
  /// One for the process, made with the first large message.
  static let shared = BackgroundExecutor()

  private let pool: NIOThreadPool

  private init() {
    pool = NIOThreadPool(numberOfThreads: ThreadTurns.processors)
    pool.start()
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    pool.submit { _ in
      // Of the calling thread alone; again for each job, because the threads are the pool's.
      ThreadTurns.beBackground()
      unowned.runSynchronously(on: self.asUnownedTaskExecutor())
    }
  }

  func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }
}
