import CAllocator

/// The C library's allocator gives each thread that comes and goes a heap of its own and keeps up to 64 MiB of each: with merges
/// that made a gigabyte of nothing.
enum Allocator {
  /// Call it once, before there are threads.
  static func tune() {
    _ = mallopt(M_ARENA_MAX, 4)
    // Columns of a large day are made and thrown away one after another: what one leaves the next one takes.
    _ = mallopt(M_MMAP_THRESHOLD, 32 << 20)
    _ = mallopt(M_TRIM_THRESHOLD, 64 << 20)
  }

  /// Gives unused pages back to the system.
  static func trim() { malloc_trim(0) }
}
