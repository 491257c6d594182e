internal import Foundation
internal import RPC

/// What Linux tells about this process. Absent elsewhere.
enum ProcessFigures {
  /// Registers memory, descriptors, processor time and start under the names that Prometheus' clients use.
  static func register(in registry: MetricsRegistry) {
    let started = Double(WallClock.nowMilliseconds) / 1_000
    registry.gauge("process_start_time_seconds", help: "When the process began, s since 1970.") {
      started
    }
    registry.gauge("process_resident_memory_bytes", help: "Memory in RAM.") {
      residentBytes() ?? .nan
    }
    registry.gauge("process_open_fds", help: "Open file descriptors.") {
      Double((try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0)
    }
    registry.counter("process_cpu_seconds_total", help: "Processor time, user and system.") {
      var usage = rusage()
      #if canImport(Glibc)
        getrusage(RUSAGE_SELF.rawValue, &usage)
      #else
        getrusage(RUSAGE_SELF, &usage)
      #endif
      return seconds(usage.ru_utime) + seconds(usage.ru_stime)
    }
  }

  private static func seconds(_ time: timeval) -> Double {
    Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000
  }

  /// The second number of statm is resident pages.
  private static func residentBytes() -> Double? {
    guard
      let text = try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8),
      let pages = text.split(separator: " ").dropFirst().first.flatMap({ Double($0) })
    else { return nil }
    return pages * Double(sysconf(Int32(_SC_PAGESIZE)))
  }
}
