#pragma once
#include <stdlib.h>

/// Memory of the calling thread, used again and again: valid until the next call on the same thread. NULL where there is none.
static inline void *footfall_scratch(size_t count) {
  enum { least = 4096, kept = 1 << 16 };
  static __thread void *bytes;
  static __thread size_t capacity;
  // What a large message needed is not kept for small ones.
  if (bytes && count <= capacity && (capacity <= kept || count > kept)) return bytes;
  free(bytes);
  capacity = count < least ? least : count;
  bytes = malloc(capacity);
  if (!bytes) capacity = 0;
  return bytes;
}
