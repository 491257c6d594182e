#if canImport(Glibc)
  internal import Glibc
#else
  internal import Darwin
#endif

/// The clock of deadlines and timers: never steps, not even when somebody sets the date.
package enum MonotonicClock {
  /// Nanoseconds since an arbitrary start. Cost: about 20 ns.
  package static var now: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}

/// The clock on the wall: receipt times.
package enum WallClock {
  /// Milliseconds since 1970.
  package static var nowMilliseconds: Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) &* 1_000 &+ Int64(time.tv_nsec) / 1_000_000
  }
}
