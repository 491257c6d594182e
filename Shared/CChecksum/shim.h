#pragma once
// CRC-32C by the processor's own instruction, which Swift cannot name.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

// SSE4.2: leaf 1, bit 20 of ecx.
static inline bool footfall_has_crc32c(void) {
  unsigned int a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) && (c >> 20 & 1);
}

// Goes on with a checksum that is not inverted. Only where `footfall_has_crc32c`. Cost: about 0.12 ns a byte.
__attribute__((target("sse4.2")))
static inline uint32_t footfall_crc32c(uint32_t checksum, const void* bytes, size_t count) {
  const uint8_t* p = (const uint8_t*)bytes;
  uint64_t value = checksum;
  for (; count >= 8; p += 8, count -= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    value = __builtin_ia32_crc32di(value, word);
  }
  checksum = (uint32_t)value;
  for (; count > 0; p++, count--) checksum = __builtin_ia32_crc32qi(checksum, *p);
  return checksum;
}
#else
static inline bool footfall_has_crc32c(void) { return false; }
static inline uint32_t footfall_crc32c(uint32_t checksum, const void* bytes, size_t count) {
  (void)bytes, (void)count;
  return checksum;
}
#endif
