#pragma once
// sched_setattr has no wrapper in the C library of Debian 12, and Swift does not see `syscall`, which takes any number of arguments.
#if defined(__linux__)
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

// Niceness of the calling thread, and how long it may run before one that has waited is preferred, ns. 0: done. Kernels before
// 6.12 take the niceness only.
static inline int footfall_give_way(int niceness, uint64_t slice) {
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {sizeof attributes, 0, 0, niceness, 0, slice, 0, 0};
  return (int)syscall(SYS_sched_setattr, 0, &attributes, 0);
}
#else
static inline int footfall_give_way(int niceness, unsigned long long slice) {
  (void)niceness, (void)slice;
  return 0;
}
#endif
