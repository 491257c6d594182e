// Cuts the power at a chosen call: of what was written and not synced, each sector is on the disk or not, as a whole, as of any of
// the writes since the last sync. Then the process dies. Loaded with LD_PRELOAD.
//
//   POWER_AT     at which write, truncation or sync of a file of POWER_PATH, from 1
//   POWER_SEED   what is on the disk afterwards
//   POWER_PATH   what the file's path holds; the index of the write-ahead log (-shm) and the lock are never meant
//   POWER_MARK   a file that then gets how many files, writes and bytes were not synced
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { sector_bytes = 512, files_max = 16 };

// A write or a truncation that no sync has followed: what takes it back.
struct change {
  off_t offset;
  // Of the file before it.
  off_t size_before;
  size_t count;
  // `count` bytes; zeros behind the file's end.
  unsigned char *before;
  int is_truncation;
};

struct file {
  dev_t device;
  ino_t node;
  int descriptor;
  struct change *changes;
  size_t change_cnt, change_max;
};

static struct file files[files_max];
static int file_cnt;
static long power_at, calls;
static uint64_t power_seed;
static const char *power_path, *power_mark;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int (*next_fdatasync)(int);
static int (*next_fsync)(int);
static int (*next_ftruncate)(int, off_t);
static int (*next_ftruncate64)(int, off64_t);
static ssize_t (*next_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*next_pwrite64)(int, const void *, size_t, off64_t);

__attribute__((constructor)) static void begin(void) {
  next_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
  next_fsync = dlsym(RTLD_NEXT, "fsync");
  next_ftruncate = dlsym(RTLD_NEXT, "ftruncate");
  next_ftruncate64 = dlsym(RTLD_NEXT, "ftruncate64");
  next_pwrite = dlsym(RTLD_NEXT, "pwrite");
  next_pwrite64 = dlsym(RTLD_NEXT, "pwrite64");
  power_mark = getenv("POWER_MARK");
  if (getenv("POWER_AT")) power_at = atol(getenv("POWER_AT"));
  if (getenv("POWER_SEED")) power_seed = strtoull(getenv("POWER_SEED"), 0, 10);
  // Last: from here on calls are looked at.
  power_path = getenv("POWER_PATH");
}

static void fail(const char *what) {
  fprintf(stderr, "power: %s\n", what);
  abort();
}

static int is_meant(int descriptor) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t count = readlink(link, path, sizeof path - 1);
  if (count <= 0) return 0;
  path[count] = 0;
  return strstr(path, power_path) && !strstr(path, "-shm") && !strstr(path, ".lock");
}

// Under the lock. 0: not one of ours.
static struct file *file_of(int descriptor) {
  struct stat found;
  if (!power_path || power_at <= 0 || fstat(descriptor, &found) || !S_ISREG(found.st_mode) || !is_meant(descriptor)) return 0;
  for (int i = 0; i < file_cnt; i++)
    if (files[i].device == found.st_dev && files[i].node == found.st_ino) return &files[i];
  if (file_cnt == files_max) fail("too many files");
  struct file *file = &files[file_cnt++];
  // A descriptor of its own stays open; locks of this process are asked of none of these files but the database, whose last
  // descriptor closes with the process.
  *file = (struct file){.device = found.st_dev, .node = found.st_ino, .descriptor = dup(descriptor)};
  return file;
}

static off_t size_of(struct file *file) {
  struct stat found;
  if (fstat(file->descriptor, &found)) fail("fstat");
  return found.st_size;
}

static void note(struct file *file, off_t offset, size_t count, int is_truncation) {
  if (file->change_cnt == file->change_max) {
    file->change_max = file->change_max ? 2 * file->change_max : 64;
    file->changes = realloc(file->changes, file->change_max * sizeof *file->changes);
    if (!file->changes) fail("no memory");
  }
  struct change *change = &file->changes[file->change_cnt++];
  *change = (struct change){.offset = offset, .size_before = size_of(file), .count = count, .is_truncation = is_truncation};
  change->before = calloc(1, count ? count : 1);
  if (!change->before || pread(file->descriptor, change->before, count, offset) < 0) fail("what is overwritten cannot be read");
}

static void forget(struct file *file, size_t count) {
  for (size_t i = 0; i < count; i++) free(file->changes[i].before);
  memmove(file->changes, file->changes + count, (file->change_cnt - count) * sizeof *file->changes);
  file->change_cnt -= count;
}

// MARK: The cut

static uint64_t mix(uint64_t a, uint64_t b) {
  uint64_t x = (a ^ 0x9e3779b97f4a7c15u) * 0xff51afd7ed558ccdu ^ b;
  x = (x ^ x >> 32) * 0xc4ceb9fe1a85ec53u;
  return x ^ x >> 29;
}

static void restore(struct file *file, const void *bytes, size_t count, off_t offset) {
  if (next_pwrite(file->descriptor, bytes, count, offset) != (ssize_t)count) fail("what was not synced cannot be taken back");
}

// How many of its writes, from the newest back, a sector has lost: none, all, or some.
static unsigned depth(struct file *file, off_t sector) {
  uint64_t chance = mix(power_seed + (uint64_t)(file - files), (uint64_t)sector);
  // A quarter of the cuts leave all, or nothing, of a file.
  switch (mix(power_seed, (uint64_t)(file - files)) % 8) {
    case 0: return 0;
    case 1: return UINT32_MAX;
  }
  if (chance % 8 < 3) return 0;
  if (chance % 8 < 6) return UINT32_MAX;
  return 1 + (chance >> 8) % 3;
}

static void take_back(struct file *file) {
  // A truncation and all before it are on the disk, or nothing of them is.
  size_t first = 0;
  int keeps_truncation = mix(power_seed, 77) % 2;
  off_t size = size_of(file), durable = size;
  for (size_t i = file->change_cnt; i-- > 0;) {
    if (file->changes[i].is_truncation && keeps_truncation) {
      first = i + 1;
      break;
    }
    durable = file->changes[i].size_before;
  }
  int undoes_all = 0;
  for (size_t i = first; i < file->change_cnt; i++) undoes_all |= file->changes[i].is_truncation;
  // Writes that each sector has lost so far: sectors are few.
  off_t sectors = size / sector_bytes + 1;
  for (size_t i = first; i < file->change_cnt; i++) {
    off_t end = (file->changes[i].offset + (off_t)file->changes[i].count) / sector_bytes + 1;
    if (end > sectors) sectors = end;
  }
  unsigned char *lost = calloc(1, (size_t)sectors + 1);
  if (!lost) fail("no memory");
  for (size_t i = file->change_cnt; i-- > first;) {
    struct change *change = &file->changes[i];
    off_t at = change->offset, end = change->offset + (off_t)change->count;
    while (at < end) {
      off_t sector = at / sector_bytes, next = (sector + 1) * sector_bytes;
      if (next > end) next = end;
      if (undoes_all || lost[sector] < depth(file, sector)) {
        restore(file, change->before + (at - change->offset), (size_t)(next - at), at);
        if (lost[sector] < 250) lost[sector]++;
      }
      at = next;
    }
  }
  free(lost);
  if (undoes_all || mix(power_seed, 78) % 2) size = durable;
  if (next_ftruncate(file->descriptor, size)) fail("the file's old size cannot be taken back");
}

static void cut(void) {
  size_t writes = 0, bytes = 0;
  int open_files = 0;
  for (int i = 0; i < file_cnt; i++) {
    open_files += files[i].change_cnt > 0;
    writes += files[i].change_cnt;
    for (size_t j = 0; j < files[i].change_cnt; j++) bytes += files[i].changes[j].count;
    if (files[i].change_cnt > 0) take_back(&files[i]);
  }
  char line[96];
  int count = snprintf(line, sizeof line, "%d %zu %zu\n", open_files, writes, bytes);
  int mark = power_mark ? open(power_mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (mark < 0 || write(mark, line, (size_t)count) != count) fail("POWER_MARK");
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static int is_due(void) { return ++calls == power_at; }

// MARK: The calls

static int sync_with(int (*next)(int), int descriptor) {
  pthread_mutex_lock(&lock);
  struct file *file = file_of(descriptor);
  size_t count = file ? file->change_cnt : 0;
  int due = file && is_due();
  // Before anything of it is durable, or once all of it is and nobody has heard.
  if (due && power_seed % 2) cut();
  if (!due) pthread_mutex_unlock(&lock);
  int result = next(descriptor);
  if (!file) return result;
  if (!due) pthread_mutex_lock(&lock);
  if (result == 0) forget(file, count);
  if (due) cut();
  pthread_mutex_unlock(&lock);
  return result;
}

int fdatasync(int descriptor) { return sync_with(next_fdatasync, descriptor); }
int fsync(int descriptor) { return sync_with(next_fsync, descriptor); }

static struct file *begin_write(int descriptor, size_t count, off_t offset) {
  pthread_mutex_lock(&lock);
  struct file *file = file_of(descriptor);
  if (file) note(file, offset, count, 0);
  return file;
}

static ssize_t end_write(struct file *file, ssize_t result) {
  int error = errno;
  if (file && is_due()) cut();
  pthread_mutex_unlock(&lock);
  errno = error;
  return result;
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
  struct file *file = begin_write(descriptor, count, offset);
  return end_write(file, next_pwrite(descriptor, bytes, count, offset));
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
  struct file *file = begin_write(descriptor, count, offset);
  return end_write(file, next_pwrite64(descriptor, bytes, count, offset));
}

static struct file *begin_truncation(int descriptor, off_t size) {
  pthread_mutex_lock(&lock);
  struct file *file = file_of(descriptor);
  if (!file) return 0;
  off_t before = size_of(file);
  note(file, size, before > size ? (size_t)(before - size) : 0, 1);
  return file;
}

int ftruncate(int descriptor, off_t size) {
  struct file *file = begin_truncation(descriptor, size);
  return (int)end_write(file, next_ftruncate(descriptor, size));
}

int ftruncate64(int descriptor, off64_t size) {
  struct file *file = begin_truncation(descriptor, size);
  return (int)end_write(file, next_ftruncate64(descriptor, size));
}
