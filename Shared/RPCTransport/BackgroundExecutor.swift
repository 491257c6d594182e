internal import CScheduling
internal import NIOPosix

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// Runs the handlers of large messages, on threads of its own that give way to the event loops where processors are short: who
/// waits for a small answer is not held up by those who parse megabytes.
final class BackgroundExecutor: TaskExecutor {
  /// One for the process, made with the first large message.
  static let shared = BackgroundExecutor()

  /// A tenth of what an event loop gets of a processor that both want.
  private static let niceness: Int32 = 10
  /// ns: how long a loop that has something to do waits for such a thread at most. The kernel's own slice is milliseconds.
  private static let slice: UInt64 = 100_000

  private let pool: NIOThreadPool

  private init() {
    pool = NIOThreadPool(numberOfThreads: max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))))
    pool.start()
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let unowned = UnownedJob(job)
    pool.submit { _ in
      // Of the calling thread alone; again for each job, because the threads are the pool's.
      _ = footfall_give_way(Self.niceness, Self.slice)
      unowned.runSynchronously(on: self.asUnownedTaskExecutor())
    }
  }

  func asUnownedTaskExecutor() -> UnownedTaskExecutor { UnownedTaskExecutor(ordinary: self) }
}
