#include "CPageChecks.h"

#include "gathered_writes.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// A main database file. The system's own file object lies behind it in the same memory, as behind a log.
typedef struct {
  sqlite3_file base;
  // 0: the file's pages carry no checksums, or nothing has been read yet.
  int page_bytes;
  // Pages of the file as its first page says.
  uint32_t pages;
  // Pages that a checkpoint copies.
  gathered_writes writes;
  // Whether a checkpoint runs that will copy all of the log: only then pages are held back.
  int copies_all;
  // Why pages that were held back could not be written, until SQLite is told.
  int failure;
  // The same connection's. 0: none is open, or it is the system's own.
  struct log_file *log;
} checked_file;

// A write-ahead log.
typedef struct log_file {
  sqlite3_file base;
  gathered_writes writes;
  checked_file *database;
  // Whether the last frame's header says that a transaction ends with it.
  int commits;
  // How the last sync was asked for: SQLITE_SYNC_NORMAL or, the greater, SQLITE_SYNC_FULL.
  int synced_kind;
} log_file;

static sqlite3_vfs *system_vfs;

static int object_bytes(void) {
  size_t bytes = sizeof(checked_file) > sizeof(log_file) ? sizeof(checked_file) : sizeof(log_file);
  return (int)((bytes + 15) & ~(size_t)15);
}

static sqlite3_file *under(sqlite3_file *file) { return (sqlite3_file *)((char *)file + object_bytes()); }

// Every step is a bijection of the state: one wrong word, and so one wrong bit, always gives another result.
static uint64_t checksum(const unsigned char *page, int page_bytes, uint64_t page_number) {
  uint64_t a = 0x9e3779b97f4a7c15u ^ page_number, b = ~page_number;
  int words = (page_bytes - FOOTFALL_PAGE_CHECK_BYTES) / 8;
  for (int i = 0; i + 1 < words; i += 2) {
    uint64_t first, second;
    memcpy(&first, page + 8 * i, 8);
    memcpy(&second, page + 8 * i + 8, 8);
    a = (a ^ first) * 0xff51afd7ed558ccdu;
    b = (b ^ second) * 0xc4ceb9fe1a85ec53u;
    a = a << 29 | a >> 35;
    b = b << 31 | b >> 33;
  }
  if (words % 2) {
    uint64_t last;
    memcpy(&last, page + 8 * (words - 1), 8);
    a = (a ^ last) * 0xff51afd7ed558ccdu;
  }
  a ^= a >> 32;
  b ^= b >> 29;
  return a * 0x9e3779b97f4a7c15u + b;
}

static int is_zero(const unsigned char *bytes, int count) {
  for (int i = 0; i < count; i++)
    if (bytes[i]) return 0;
  return 1;
}

// Learns from the file's header (its first 100 bytes) whether its pages carry checksums.
static void learn(checked_file *file, const unsigned char *header) {
  if (memcmp(header, "SQLite format 3", 16) != 0) return;
  int page_bytes = header[16] << 8 | header[17];
  if (page_bytes == 1) page_bytes = 65536;
  file->page_bytes = header[20] == FOOTFALL_PAGE_CHECK_BYTES ? page_bytes : 0;
  file->pages = (uint32_t)header[28] << 24 | (uint32_t)header[29] << 16 | (uint32_t)header[30] << 8 | header[31];
}

// Fills what a leaf of a tree does not use with zeros (sqlite.org/fileformat2.html, 1.6). `secure_delete` zeroes what is deleted, but
// where SQLite moves rows to another page it leaves their bytes behind in what is free then. A page of another kind begins with the
// number of a page, whose first byte is that of a leaf only in a file of more than 10 << 24 pages, or, in a pointer map, with 1 to 5.
static void clear_unused(checked_file *file, unsigned char *page, int page_bytes, sqlite3_int64 offset) {
  if (file->pages == 0 || file->pages >= 10u << 24) return;
  int head = offset == 0 ? 100 : 0, usable = page_bytes - FOOTFALL_PAGE_CHECK_BYTES;
  if (page[head] != 10 && page[head] != 13) return;
  int begin = head + 8 + 2 * (page[head + 3] << 8 | page[head + 4]), end = page[head + 5] << 8 | page[head + 6];
  if (end == 0) end = 65536;
  if (begin < end && end <= usable) memset(page + begin, 0, (size_t)(end - begin));
}

static int is_page(checked_file *file, int count, sqlite3_int64 offset) {
  return file->page_bytes > 0 && count == file->page_bytes && offset % count == 0;
}

// What could not be written is told once: SQLite then does not take the checkpoint for done.
static int flush_pages(checked_file *file) {
  int code = file->failure;
  file->failure = SQLITE_OK;
  if (code == SQLITE_OK) code = footfall_gathered_flush(&file->writes, under(&file->base));
  return code;
}

static int read_checked(sqlite3_file *file, void *buffer, int count, sqlite3_int64 offset) {
  checked_file *checked = (checked_file *)file;
  int code = footfall_gathered_read(&checked->writes, under(file), buffer, count, offset);
  if (code != SQLITE_OK) return code;
  if (offset == 0 && count >= 100) learn(checked, buffer);
  if (!is_page(checked, count, offset)) return SQLITE_OK;
  unsigned char *page = buffer;
  uint64_t stored, computed = checksum(page, count, (uint64_t)(offset / count) + 1);
  memcpy(&stored, page + count - FOOTFALL_PAGE_CHECK_BYTES, 8);
  if (stored == computed) return SQLITE_OK;
  // A page that was reserved in the file and never written: no page that is in use is empty.
  return is_zero(page, count) ? SQLITE_OK : SQLITE_IOERR_DATA;
}

static int write_checked(sqlite3_file *file, const void *buffer, int count, sqlite3_int64 offset) {
  checked_file *checked = (checked_file *)file;
  if (offset == 0 && count >= 100) learn(checked, buffer);
  if (is_page(checked, count, offset)) {
    // The reserved bytes, and those that no row uses, are nobody else's: they are filled in place.
    unsigned char *page = (unsigned char *)buffer;
    clear_unused(checked, page, count, offset);
    uint64_t computed = checksum(page, count, (uint64_t)(offset / count) + 1);
    memcpy(page + count - FOOTFALL_PAGE_CHECK_BYTES, &computed, 8);
  }
  if (checked->copies_all) return footfall_gather(&checked->writes, under(file), buffer, count, offset);
  int code = flush_pages(checked);
  return code == SQLITE_OK ? under(file)->pMethods->xWrite(under(file), buffer, count, offset) : code;
}

static int close_database(sqlite3_file *file) {
  free(((checked_file *)file)->writes.bytes);
  return under(file)->pMethods->xClose(under(file));
}

static int truncate_database(sqlite3_file *file, sqlite3_int64 size) {
  int code = flush_pages((checked_file *)file);
  return code == SQLITE_OK ? under(file)->pMethods->xTruncate(under(file), size) : code;
}

static int sync_database(sqlite3_file *file, int flags) {
  int code = flush_pages((checked_file *)file);
  return code == SQLITE_OK ? under(file)->pMethods->xSync(under(file), flags) : code;
}

static int database_size(sqlite3_file *file, sqlite3_int64 *size) {
  int code = flush_pages((checked_file *)file);
  return code == SQLITE_OK ? under(file)->pMethods->xFileSize(under(file), size) : code;
}

// A checkpoint has copied what it copies, and no reader has been told: a reader that is looks for these pages in the file. SQLite does
// not look at what is returned here, but cuts the file next.
static int control_database(sqlite3_file *file, int operation, void *argument) {
  checked_file *checked = (checked_file *)file;
  if (operation == SQLITE_FCNTL_CKPT_DONE) checked->failure = flush_pages(checked);
  return under(file)->pMethods->xFileControl(under(file), operation, argument);
}

static int control(sqlite3_file *f, int op, void *arg) { return under(f)->pMethods->xFileControl(under(f), op, arg); }
static int close_file(sqlite3_file *f) { return under(f)->pMethods->xClose(under(f)); }
static int lock_file(sqlite3_file *f, int lock) { return under(f)->pMethods->xLock(under(f), lock); }
static int unlock_file(sqlite3_file *f, int lock) { return under(f)->pMethods->xUnlock(under(f), lock); }
static int check_lock(sqlite3_file *f, int *out) { return under(f)->pMethods->xCheckReservedLock(under(f), out); }
static int sector_size(sqlite3_file *f) { return under(f)->pMethods->xSectorSize(under(f)); }
static int characteristics(sqlite3_file *f) { return under(f)->pMethods->xDeviceCharacteristics(under(f)); }
static int shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
  return under(f)->pMethods->xShmMap(under(f), page, size, extend, out);
}
static void shm_barrier(sqlite3_file *f) { under(f)->pMethods->xShmBarrier(under(f)); }
static int shm_unmap(sqlite3_file *f, int delete) { return under(f)->pMethods->xShmUnmap(under(f), delete); }

// Locks of the log's index (sqlite.org/walformat.html, 2.3).
enum { lock_to_write, lock_to_checkpoint, lock_to_recover, first_lock_to_read };

// A checkpoint copies what no reader stands before: it asks each reader's lock for leave to move its mark to the log's end. Where it
// gets all that it asks for and nobody else commits meanwhile (StoreLock), it copies all of the log, and cuts and syncs the file before
// readers are told; else nothing comes of a failed write of the last pages any more, so that none may be held back.
static void watch_checkpoint(checked_file *file, int offset, int flags, int code) {
  if (!(flags & SQLITE_SHM_EXCLUSIVE)) return;
  if (offset == lock_to_checkpoint) {
    file->copies_all = flags & SQLITE_SHM_LOCK && code == SQLITE_OK;
    file->writes.count = 0;
  } else if (offset > first_lock_to_read && flags & SQLITE_SHM_LOCK && code != SQLITE_OK) {
    file->copies_all = 0;
  }
}

static int shm_lock(sqlite3_file *f, int offset, int n, int flags) {
  checked_file *file = (checked_file *)f;
  int code = under(f)->pMethods->xShmLock(under(f), offset, n, flags);
  watch_checkpoint(file, offset, flags, code);
  // Before and after a transaction all that is held back was rolled back: it must not be written where another connection soon
  // writes.
  if (code == SQLITE_OK && flags & SQLITE_SHM_EXCLUSIVE && offset <= lock_to_checkpoint && file->log)
    file->log->writes.count = 0;
  return code;
}

// MARK: The write-ahead log

enum { frame_header_bytes = 24 };

static int flush(log_file *log) { return footfall_gathered_flush(&log->writes, under(&log->base)); }

// SQLite writes each frame in two calls: its header and its page. What goes on where the last write ended is held back until the
// frame that ends a transaction is complete: then readers are told of it. Until then only this connection reads it, and where any
// write fails, SQLite rolls back all of the transaction. All else is written at once: pages and headers of frames that are written
// anew, of which the last one is behind the commit.
static int write_log(sqlite3_file *file, const void *buffer, int count, sqlite3_int64 offset) {
  log_file *log = (log_file *)file;
  int follows = footfall_gathered_follows(&log->writes, offset);
  int is_header = count == frame_header_bytes;
  if (is_header) log->commits = !is_zero((const unsigned char *)buffer + 4, 4);
  int code = footfall_gather(&log->writes, under(file), buffer, count, offset);
  if (code != SQLITE_OK || (follows && (is_header || !log->commits))) return code;
  return flush(log);
}

static int read_log(sqlite3_file *file, void *buffer, int count, sqlite3_int64 offset) {
  return footfall_gathered_read(&((log_file *)file)->writes, under(file), buffer, count, offset);
}

static int truncate_log(sqlite3_file *file, sqlite3_int64 size) {
  log_file *log = (log_file *)file;
  int code = flush(log);
  log->writes.has_given = 1;
  return code == SQLITE_OK ? under(file)->pMethods->xTruncate(under(file), size) : code;
}

// What was synced already is not synced again: before it copies the log, SQLite asks for what each commit has asked for. Nobody else
// writes to the log (StoreLock).
static int sync_log(sqlite3_file *file, int flags) {
  log_file *log = (log_file *)file;
  int code = flush(log), kind = flags & 0x0f;
  if (code != SQLITE_OK || (!log->writes.has_given && kind <= log->synced_kind)) return code;
  code = under(file)->pMethods->xSync(under(file), flags);
  if (code != SQLITE_OK) return code;
  log->writes.has_given = 0;
  log->synced_kind = kind;
  return SQLITE_OK;
}

static int log_size(sqlite3_file *file, sqlite3_int64 *size) {
  int code = flush((log_file *)file);
  return code == SQLITE_OK ? under(file)->pMethods->xFileSize(under(file), size) : code;
}

// What is held back now is of no commit.
static int close_log(sqlite3_file *file) {
  log_file *log = (log_file *)file;
  log->database->log = 0;
  free(log->writes.bytes);
  return close_file(file);
}

// Version 1: nobody asks a log for locks of its index.
static const sqlite3_io_methods log_methods = {
    1,          close_log, read_log,    write_log,       truncate_log, sync_log, log_size, lock_file, unlock_file,
    check_lock, control,   sector_size, characteristics, 0,            0,        0,        0,         0,
    0};

// MARK: The layer

// Version 2: no memory maps, which would pass by the checks.
static const sqlite3_io_methods methods = {
    2,          close_database, read_checked,  write_checked,   truncate_database, sync_database, database_size, lock_file,
    unlock_file, check_lock, control_database, sector_size, characteristics, shm_map, shm_lock,  shm_barrier, shm_unmap,
    0,          0};

static int open_under(const char *name, sqlite3_file *file, int flags, int *out, const sqlite3_io_methods *own) {
  memset(file, 0, (size_t)object_bytes());
  int code = system_vfs->xOpen(system_vfs, name, under(file), flags, out);
  file->pMethods = under(file)->pMethods ? own : 0;
  return code;
}

static int open_log(const char *name, sqlite3_file *file, int flags, int *out) {
  sqlite3_file *database = sqlite3_database_file_object(name);
  // Where a write may damage what is beside it, SQLite pads commits with further frames, and cuts these where a sector ends.
  if (database->pMethods != &methods || !(characteristics(database) & SQLITE_IOCAP_POWERSAFE_OVERWRITE))
    return system_vfs->xOpen(system_vfs, name, file, flags, out);
  int code = open_under(name, file, flags, out, &log_methods);
  if (!file->pMethods) return code;
  log_file *log = (log_file *)file;
  // What a process left that was killed may be on no disk.
  log->writes.has_given = 1;
  log->database = (checked_file *)database;
  log->database->log = log;
  return code;
}

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out) {
  (void)vfs;
  if (flags & SQLITE_OPEN_MAIN_DB) return open_under(name, file, flags, out, &methods);
  if (flags & SQLITE_OPEN_WAL) return open_log(name, file, flags, out);
  // Journals and temporary files are the system's own.
  return system_vfs->xOpen(system_vfs, name, file, flags, out);
}

static int registered = SQLITE_ERROR;

static void register_once(void) {
  static sqlite3_vfs vfs;
  registered = sqlite3_initialize();
  if (registered != SQLITE_OK) return;
  system_vfs = sqlite3_vfs_find(0);
  if (!system_vfs) {
    registered = SQLITE_ERROR;
    return;
  }
  vfs = *system_vfs;
  vfs.pNext = 0;
  vfs.zName = "footfall-page-checks";
  vfs.szOsFile = object_bytes() + system_vfs->szOsFile;
  vfs.xOpen = open_file;
  registered = sqlite3_vfs_register(&vfs, 1);
}

int footfall_page_checks_register(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, register_once);
  return registered;
}

// Returns 1 at the file's end.
static int stamp_page(int file, unsigned char *page, int page_bytes, uint64_t index) {
  off_t offset = (off_t)index * page_bytes;
  ssize_t count = pread(file, page, (size_t)page_bytes, offset);
  if (count < 0) return -1;
  if (count < page_bytes) return 1;
  if (is_zero(page, page_bytes)) return 0;
  uint64_t stored, computed = checksum(page, page_bytes, index + 1);
  unsigned char *place = page + page_bytes - FOOTFALL_PAGE_CHECK_BYTES;
  memcpy(&stored, place, 8);
  if (stored == computed) return 0;
  memcpy(place, &computed, 8);
  ssize_t written = pwrite(file, place, FOOTFALL_PAGE_CHECK_BYTES, offset + page_bytes - FOOTFALL_PAGE_CHECK_BYTES);
  if (written == FOOTFALL_PAGE_CHECK_BYTES) return 0;
  if (written >= 0) errno = ENOSPC;
  return -1;
}

int footfall_page_checks_stamp(const char *path) {
  int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return -1;
  unsigned char header[100], *page = malloc(65536);
  checked_file learnt = {0};
  int code = page ? 0 : -1;
  if (pread(file, header, sizeof header, 0) == sizeof header) learn(&learnt, header);
  for (uint64_t index = 0; code == 0 && learnt.page_bytes > 0; index++)
    code = stamp_page(file, page, learnt.page_bytes, index);
  free(page);
  if (code >= 0) code = fdatasync(file);
  close(file);
  return code;
}
