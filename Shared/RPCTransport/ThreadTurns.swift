internal import CScheduling

/// How the kernel shares a processor between threads that both want it.
enum ThreadTurns {
  /// ns. A thread that asks for short turns is let in as soon as it has something to do: kernels from 6.12 on take the shortest
  /// request first. Without it a loop waits until the kernel looks again by itself, every 4 ms where that is common.
  private static let loopSlice: UInt64 = 100_000
  /// A tenth of what an event loop gets.
  private static let backgroundNiceness: Int32 = 10

  /// The calling thread runs an event loop.
  static func beLoop() { _ = footfall_schedule(0, loopSlice) }

  /// The calling thread works on what is large, and gives way to the loops.
  static func beBackground() { _ = footfall_schedule(backgroundNiceness, 0) }
}
