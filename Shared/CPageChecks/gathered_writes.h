#pragma once
#include <sqlite3.h>

// Writes of a file that follow one another, held back to be given to the system as one.
typedef struct {
  unsigned char *bytes;
  sqlite3_int64 start;
  // 0: nothing is held back, and the last write ended at `start`.
  int count;
  // Whether the system was given writes since this was last set to 0.
  int has_given;
} gathered_writes;

/// Whether a write at the offset goes on where the last one ended.
static inline int footfall_gathered_follows(const gathered_writes *writes, sqlite3_int64 offset) {
  return offset == writes->start + writes->count;
}

/// Holds a write back. What is held back already and cannot be one with it is written first.
int footfall_gather(
    gathered_writes *writes, sqlite3_file *file, const void *bytes, int count, sqlite3_int64 offset);

/// Writes what is held back. Where that fails it is dropped: it must not be written later, over what took its place.
int footfall_gathered_flush(gathered_writes *writes, sqlite3_file *file);

/// Reads as if all were written.
int footfall_gathered_read(
    gathered_writes *writes, sqlite3_file *file, void *bytes, int count, sqlite3_int64 offset);
