internal import CScheduling

#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// How the kernel shares a processor between threads that both want it.
package enum ThreadTurns {
  /// ns. A thread that asks for short turns is let in as soon as it has something to do: kernels from 6.12 on take the shortest
  /// request first. Without it a loop waits until the kernel looks again by itself, every 4 ms where that is common.
  private static let loopSlice: UInt64 = 100_000
  /// Of a thread that works without end beside a loop: a quarter of what the loop gets, if that wants all it can get. With equal rights
  /// a loop that needs nearly half of a processor has had its share now and then when something comes, and waits for up to 4 ms; with
  /// two thirds it tells those whom it refuses in a rush twice as late. What it takes is bounded, so the thread gets its time.
  private static let writerNiceness: Int32 = 6
  /// A tenth of what an event loop gets.
  private static let backgroundNiceness: Int32 = 10

  /// Processors that the process may run on. More threads than these that work without end hold each other up: one that has the lock of the
  /// process's memory waits behind the others for its turn, and a loop that needs that lock waits for it.
  package static var processors: Int {
    let allowed = Int(footfall_processors())
    return allowed > 0 ? allowed : max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
  }

  /// The calling thread runs an event loop.
  static func beLoop() { _ = footfall_schedule(0, loopSlice) }

  /// The calling thread works without end on what a loop brings.
  package static func beWriter() { _ = footfall_schedule(writerNiceness, 0) }

  /// The calling thread works on what is large, and gives way to the loops.
  static func beBackground() { _ = footfall_schedule(backgroundNiceness, 0) }
}
