#pragma once
// sched_setattr has no wrapper in the C library of Debian 12, and Swift does not see `syscall`, which takes any number of arguments.
#if defined(__linux__)
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

// Makes the calling thread nicer by so much than the process, and says how long it runs before one that has waited as long is
// preferred, ns; 0: the kernel's own choice. Returns 0 where that was done. Kernels before 6.12 take the niceness only.
static inline int footfall_schedule(int nicer, uint64_t slice) {
  int niceness = getpriority(PRIO_PROCESS, (id_t)getpid()) + nicer;
  struct {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
  } attributes = {sizeof attributes, 0, 0, niceness < 19 ? niceness : 19, 0, slice, 0, 0};
  return (int)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

// Processors that the process may run on; 0: not known.
static inline int footfall_processors(void) {
  unsigned long mask[128] = {0};
  long bytes = syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
  int count = 0;
  for (long i = 0; i < bytes / (long)sizeof *mask; i++) count += __builtin_popcountl(mask[i]);
  return count;
}
#else
static inline int footfall_processors(void) { return 0; }

static inline int footfall_schedule(int nicer, unsigned long long slice) {
  (void)nicer, (void)slice;
  return 0;
}
#endif
