#include "gathered_writes.h"

#include <stdlib.h>
#include <string.h>

// The system's xWrite looks at the lowest 17 bits of a count only. So little also stays in the processor's cache.
#define GATHERED_BYTES_MAX 0x1ffff

static int give(gathered_writes *writes, sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
  writes->has_given = 1;
  return file->pMethods->xWrite(file, bytes, count, offset);
}

int footfall_gathered_flush(gathered_writes *writes, sqlite3_file *file) {
  int count = writes->count;
  sqlite3_int64 start = writes->start;
  writes->start += count;
  writes->count = 0;
  return count > 0 ? give(writes, file, writes->bytes, count, start) : SQLITE_OK;
}

int footfall_gather(
    gathered_writes *writes, sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset) {
  if (!footfall_gathered_follows(writes, offset) || count > GATHERED_BYTES_MAX - writes->count) {
    int code = footfall_gathered_flush(writes, file);
    if (code != SQLITE_OK) return code;
    writes->start = offset;
  }
  if (!writes->bytes) writes->bytes = malloc(GATHERED_BYTES_MAX);
  if (!writes->bytes || count > GATHERED_BYTES_MAX) {
    writes->start += count;
    return give(writes, file, bytes, count, offset);
  }
  memcpy(writes->bytes + writes->count, bytes, (size_t)count);
  writes->count += count;
  return SQLITE_OK;
}

int footfall_gathered_read(
    gathered_writes *writes, sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset) {
  sqlite3_int64 end = writes->start + writes->count;
  if (offset >= writes->start && offset + count <= end) {
    memcpy(bytes, writes->bytes + (offset - writes->start), (size_t)count);
    return SQLITE_OK;
  }
  if (offset < end && offset + count > writes->start) {
    int code = footfall_gathered_flush(writes, file);
    if (code != SQLITE_OK) return code;
  }
  return file->pMethods->xRead(file, bytes, count, offset);
}
