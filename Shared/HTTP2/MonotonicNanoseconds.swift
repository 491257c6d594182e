#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The clock of this module's meters.
enum MonotonicNanoseconds {
  static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}
