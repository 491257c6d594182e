// Makes chosen calls on the log's files fail or take long, and sets the wall clock off. Loaded with LD_PRELOAD.
//
//   FAULT_CALL   sync (fdatasync, fsync) or write (pwrite)
//   FAULT_AT     which call on a file of FAULT_PATH it is, from 1
//   FAULT_ERROR  errno, by number; -1: half of it is written; 0: none
//   FAULT_SLEEP  ms that the call takes longer
//   FAULT_PATH   what the file's path holds; the index of the write-ahead log (-shm) and the lock are never meant
//   FAULT_MARK   a file that gets the times at which the fault began and ended, CLOCK_MONOTONIC in ns
//   CLOCK_FILE   a file of 8 bytes: ns by which the wall clock is off, now
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *fault_call, *fault_path, *fault_mark;
static long fault_at, fault_error, fault_sleep;
static atomic_long calls;
static volatile int64_t *clock_offset;

static int (*next_clock_gettime)(clockid_t, struct timespec *);
static int (*next_fdatasync)(int);
static int (*next_fsync)(int);
static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*next_pwrite64)(int, const void *, size_t, off64_t);

__attribute__((constructor)) static void begin(void) {
  next_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  next_fsync = dlsym(RTLD_NEXT, "fsync");
  next_pwrite = dlsym(RTLD_NEXT, "pwrite");
  next_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
  fault_path = getenv("FAULT_PATH");
  fault_mark = getenv("FAULT_MARK");
  if (getenv("FAULT_AT")) fault_at = atol(getenv("FAULT_AT"));
  if (getenv("FAULT_ERROR")) fault_error = atol(getenv("FAULT_ERROR"));
  if (getenv("FAULT_SLEEP")) fault_sleep = atol(getenv("FAULT_SLEEP"));
  const char *path = getenv("CLOCK_FILE");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file >= 0) {
    void *map = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) clock_offset = map;
    close(file);
  }
  // Last: from here on calls are counted.
  fault_call = getenv("FAULT_CALL");
}

static int64_t monotonic(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void mark(int64_t from, int64_t to) {
  char line[64];
  int count = snprintf(line, sizeof line, "%lld %lld\n", (long long)from, (long long)to);
  int file = fault_mark ? open(fault_mark, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  if (file < 0) return;
  if (write(file, line, (size_t)count) != count) abort();
  close(file);
}

// Whether this call is the one. What it does beside failing is done here.
static int is_fault(const char *call, int file) {
  if (!fault_call || strcmp(fault_call, call)) return 0;
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t count = readlink(link, path, sizeof path - 1);
  if (count <= 0) return 0;
  path[count] = 0;
  if (!fault_path || !strstr(path, fault_path) || strstr(path, "-shm") || strstr(path, ".lock") || strstr(path, "-seal")) return 0;
  if (atomic_fetch_add(&calls, 1) + 1 != fault_at) return 0;
  int64_t from = monotonic();
  if (fault_sleep > 0) {
    // One line as it begins, for whoever waits for it; one with its end.
    mark(from, 0);
    usleep((useconds_t)fault_sleep * 1000);
  }
  mark(from, monotonic());
  return 1;
}

int fdatasync(int file) {
  if (is_fault("sync", file) && fault_error > 0) return errno = (int)fault_error, -1;
  return next_fdatasync(file);
}

int fsync(int file) {
  if (is_fault("sync", file) && fault_error > 0) return errno = (int)fault_error, -1;
  return next_fsync(file);
}

ssize_t pwrite(int file, const void *bytes, size_t count, off_t offset) {
  if (is_fault("write", file)) {
    if (fault_error > 0) return errno = (int)fault_error, -1;
    if (fault_error < 0) return next_pwrite(file, bytes, count / 2, offset);
  }
  return next_pwrite(file, bytes, count, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
  if (is_fault("write", file)) {
    if (fault_error > 0) return errno = (int)fault_error, -1;
    if (fault_error < 0) return next_pwrite64(file, bytes, count / 2, offset);
  }
  return next_pwrite64(file, bytes, count, offset);
}

// MARK: The wall clock

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = next_clock_gettime(clock, now);
  if (result || !clock_offset || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return result;
  int64_t time = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + *clock_offset;
  now->tv_sec = time / 1000000000;
  now->tv_nsec = time % 1000000000;
  return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  (void)zone;
  struct timespec time;
  if (clock_gettime(CLOCK_REALTIME, &time)) return -1;
  now->tv_sec = time.tv_sec;
  now->tv_usec = time.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *out) {
  struct timespec now;
  if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
  if (out) *out = now.tv_sec;
  return now.tv_sec;
}
