// Batches of events as a mini program's SDK would send them, encoded by hand: the client must cost less than the server.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workloads.h"

extern uint64_t checksum_of_answers;

enum { context_bytes_max = 512, event_bytes_max = 512, provinces = 31, pages = 40 };

struct device {
  char open_id[40], device_id[40];
  uint64_t next_sequence, batches;
};

struct collect {
  struct collect_options options;
  uint64_t sent;
  int lanes_per_connection, devices_per_lane;
  struct device* devices;
  // Of each lane: which of its devices is next.
  int* turn;
  uint64_t batches_per_device;
};

// MARK: Protobuf

static uint8_t* put_varint(uint8_t* p, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *p++ = value | 0x80;
  *p++ = value;
  return p;
}

static uint8_t* put_number(uint8_t* p, int field, uint64_t value) {
  return put_varint(put_varint(p, field << 3), value);
}

static uint8_t* put_bytes(uint8_t* p, int field, const void* bytes, size_t length) {
  p = put_varint(put_varint(p, field << 3 | 2), length);
  return (uint8_t*)memcpy(p, bytes, length) + length;
}

static uint8_t* put_text(uint8_t* p, int field, const char* text) { return put_bytes(p, field, text, strlen(text)); }

// One field of an event: `value` is an encoded FieldValue.
static uint8_t* put_field(uint8_t* p, const char* name, const uint8_t* value, size_t value_bytes) {
  uint8_t field[128];
  uint8_t* end = put_bytes(put_text(field, 1, name), 2, value, value_bytes);
  return put_bytes(p, 6, field, end - field);
}

static uint8_t* put_text_field(uint8_t* p, const char* name, const char* text) {
  uint8_t value[64];
  return put_field(p, name, value, put_text(value, 1, text) - value);
}

static uint8_t* put_integer_field(uint8_t* p, const char* name, uint64_t number) {
  uint8_t value[16];
  return put_field(p, name, value, put_number(value, 2, number) - value);
}

static uint8_t* put_double_field(uint8_t* p, const char* name, double number) {
  uint8_t value[9] = {3 << 3 | 1};
  memcpy(value + 1, &number, 8);
  return put_field(p, name, value, sizeof value);
}

// MARK: Batches

static size_t context(const struct device* device, uint64_t number, uint8_t* out) {
  static const char* const names[provinces] = {
    "Anhui", "Beijing", "Chongqing", "Fujian", "Gansu", "Guangdong", "Guangxi", "Guizhou", "Hainan", "Hebei",
    "Heilongjiang", "Henan", "Hubei", "Hunan", "Inner Mongolia", "Jiangsu", "Jiangxi", "Jilin", "Liaoning", "Ningxia",
    "Qinghai", "Shaanxi", "Shandong", "Shanghai", "Shanxi", "Sichuan", "Tianjin", "Tibet", "Xinjiang", "Yunnan",
    "Zhejiang"};
  static const char* const models[] = {"iPhone 15 Pro", "Mate 60 Pro", "Xiaomi 14", "Find X7"};
  static const char* const brands[] = {"Apple", "HUAWEI", "Xiaomi", "OPPO"};
  static const int scenes[] = {1001, 1007, 1011, 1089};
  uint8_t* p = put_text(out, 1, device->open_id);
  p = put_text(p, 2, "CN");
  p = put_text(p, 3, names[number % provinces]);
  p = put_text(p, 4, "Hangzhou");
  p = put_text(p, 5, number % 2 ? "female" : "male");
  p = put_text(p, 6, "phone");
  p = put_text(p, 7, number % 3 ? "wifi" : "5g");
  p = put_number(p, 8, 393);
  p = put_number(p, 9, 852);
  p = put_text(p, 10, number % 4 ? "Android" : "iOS");
  p = put_text(p, 11, "17.4.1");
  p = put_text(p, 12, "zh_CN");
  p = put_text(p, 13, brands[number % 4]);
  p = put_text(p, 14, models[number % 4]);
  p = put_text(p, 15, brands[number % 4]);
  p = put_number(p, 16, scenes[number % 4]);
  p = put_text(p, 17, "wechat");
  p = put_text(p, 18, "3.12.0");
  p = put_text(p, 19, "8.0.49");
  p = put_text(p, 20, "1.0.0");
  return p - out;
}

static size_t event(uint64_t device, uint64_t sequence, uint64_t time_ms, uint8_t* out) {
  char text[64];
  uint8_t* p = out;
  uint64_t kind = sequence % 10;
  const char* name = kind < 5 ? "$page_view" : kind < 8 ? "$page_leave" : kind == 8 ? "add_to_cart" : "purchase";
  p = put_text(p, 1, name);
  p = put_number(p, 2, time_ms);
  snprintf(text, sizeof text, "pages/product/detail%llu", (unsigned long long)((sequence * 13 + device) % pages));
  p = put_text(p, 3, text);
  p = put_number(p, 4, sequence);
  if (kind >= 5 && kind < 8) return put_integer_field(p, "stay_ms", 1500 + sequence % 4000) - out;
  snprintf(text, sizeof text, "sku-%llu", (unsigned long long)(sequence * 7919 % 5000));
  p = put_text_field(p, "product_id", text);
  if (kind >= 8) p = put_double_field(p, "price", (double)(sequence % 400) + 0.9);
  if (kind >= 8) p = put_integer_field(p, "quantity", 1 + sequence % 3);
  return p - out;
}

// When a device's batch ends: now, or on its day of the history, always later than the device's last one.
static uint64_t batch_time(const struct collect* collect, struct device* device, uint64_t number, uint64_t now_ms) {
  enum { day_ms = 86400000 };
  uint64_t batch = device->batches++;
  if (collect->options.days == 0) return now_ms;
  uint64_t span = (uint64_t)collect->options.days * day_ms;
  uint64_t step = span / (collect->batches_per_device + 1);
  return now_ms - span + batch * step + number * 7919 % (step > day_ms ? day_ms : step);
}

static size_t collect_request(void* state, int connection, int lane, uint8_t* out) {
  struct collect* collect = state;
  if (collect->sent == collect->options.batches) return 0;
  collect->sent++;
  int slot = connection * collect->lanes_per_connection + lane;
  int turn = collect->turn[slot];
  collect->turn[slot] = (turn + 1) % collect->devices_per_lane;
  uint64_t number = (uint64_t)slot * collect->devices_per_lane + turn;
  struct device* device = &collect->devices[number];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t now_ms = (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  uint64_t end_ms = batch_time(collect, device, number, now_ms);
  uint8_t scratch[event_bytes_max > context_bytes_max ? event_bytes_max : context_bytes_max];
  uint8_t* p = put_text(out, 1, collect->options.app);
  p = put_bytes(p, 2, scratch, context(device, number, scratch));
  for (int i = 0; i < collect->options.batch_events; i++) {
    uint64_t time_ms = end_ms - (uint64_t)(collect->options.batch_events - i) * 50;
    p = put_bytes(p, 3, scratch, event(number, device->next_sequence++, time_ms, scratch));
  }
  p = put_number(p, 4, now_ms);
  p = put_text(p, 5, device->device_id);
  if (collect->options.days > 0) p = put_number(p, 6, 1);
  return p - out;
}

static bool collect_answer(void* state, int connection, int lane, const uint8_t* message, size_t length) {
  struct collect* collect = state;
  (void)connection, (void)lane;
  uint64_t accepted = 0;
  size_t at = 0;
  while (at < length) {
    int key = message[at++];
    // Only `accepted` (1) and an echoed `batch` (5) may be there: anything else tells of an event that was not taken.
    if (key != (1 << 3) && key != (5 << 3)) return false;
    uint64_t value = 0;
    for (int shift = 0; at < length && shift < 64; shift += 7) {
      value |= (uint64_t)(message[at] & 0x7f) << shift;
      if (!(message[at++] & 0x80)) break;
    }
    if (key == (1 << 3)) accepted = value;
  }
  checksum_of_answers += accepted;
  return accepted == (uint64_t)collect->options.batch_events;
}

void collect_workload(struct load* load, struct collect_options options) {
  struct collect* collect = calloc(1, sizeof *collect);
  int slots = load->connections * load->lanes;
  collect->options = options;
  collect->lanes_per_connection = load->lanes;
  collect->devices_per_lane = options.users / slots > 0 ? options.users / slots : 1;
  collect->batches_per_device = options.batches / ((uint64_t)slots * collect->devices_per_lane) + 1;
  collect->devices = calloc((size_t)slots * collect->devices_per_lane, sizeof(struct device));
  collect->turn = calloc(slots, sizeof(int));
  for (int i = 0; i < slots * collect->devices_per_lane; i++) {
    struct device* device = &collect->devices[i];
    snprintf(device->open_id, sizeof device->open_id, "%s-u%07d", options.run, i);
    snprintf(device->device_id, sizeof device->device_id, "%s-d%07d", options.run, i);
    device->next_sequence = 1;
  }
  load->request_bytes = context_bytes_max + 512 + (size_t)options.batch_events * 256;
  load->workload = (struct workload){.request = collect_request, .answer = collect_answer, .state = collect};
}

uint64_t collect_devices_used(const struct load* load) {
  const struct collect* collect = load->workload.state;
  uint64_t used = 0;
  for (int i = 0; i < load->connections * load->lanes * collect->devices_per_lane; i++)
    used += collect->devices[i].batches > 0;
  return used;
}
