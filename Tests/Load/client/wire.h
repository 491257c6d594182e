// Writes protobuf fields by hand: the client must cost less than the server.
#ifndef FOOTFALL_LOAD_WIRE_H
#define FOOTFALL_LOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint8_t* put_varint(uint8_t* p, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *p++ = value | 0x80;
  *p++ = value;
  return p;
}

static inline uint8_t* put_number(uint8_t* p, int field, uint64_t value) {
  return put_varint(put_varint(p, field << 3), value);
}

static inline uint8_t* put_bytes(uint8_t* p, int field, const void* bytes, size_t length) {
  p = put_varint(put_varint(p, field << 3 | 2), length);
  return (uint8_t*)memcpy(p, bytes, length) + length;
}

static inline uint8_t* put_text(uint8_t* p, int field, const char* text) {
  return put_bytes(p, field, text, strlen(text));
}

// One field of an event: `value` is an encoded FieldValue.
static inline uint8_t* put_field(uint8_t* p, const char* name, const uint8_t* value, size_t value_bytes) {
  uint8_t field[128];
  uint8_t* end = put_bytes(put_text(field, 1, name), 2, value, value_bytes);
  return put_bytes(p, 6, field, end - field);
}

static inline uint8_t* put_text_field(uint8_t* p, const char* name, const char* text) {
  uint8_t value[80];
  return put_field(p, name, value, put_text(value, 1, text) - value);
}

static inline uint8_t* put_integer_field(uint8_t* p, const char* name, uint64_t number) {
  uint8_t value[16];
  return put_field(p, name, value, put_number(value, 2, number) - value);
}

static inline uint8_t* put_double_field(uint8_t* p, const char* name, double number) {
  uint8_t value[9] = {3 << 3 | 1};
  memcpy(value + 1, &number, 8);
  return put_field(p, name, value, sizeof value);
}

static inline uint8_t* put_boolean_field(uint8_t* p, const char* name, bool flag) {
  uint8_t value[16];
  return put_field(p, name, value, put_number(value, 4, flag) - value);
}

#endif
