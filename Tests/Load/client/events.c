#include "events.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { provinces = 31, pages = 40, day_ms = 86400000 };

struct event_source* event_source_make(struct event_options options, int slots) {
  struct event_source* source = calloc(1, sizeof *source);
  source->options = options;
  source->slots = slots;
  source->devices_per_slot = options.users / slots > 0 ? options.users / slots : 1;
  uint64_t devices = (uint64_t)slots * source->devices_per_slot;
  source->batches_per_device = options.batches / devices + 1;
  source->devices = calloc(devices, sizeof(struct device));
  source->turn = calloc(slots, sizeof(int));
  for (uint64_t i = 0; i < devices; i++) {
    struct device* device = &source->devices[i];
    snprintf(device->open_id, sizeof device->open_id, "%s-u%07d", options.run, (int)i);
    snprintf(device->device_id, sizeof device->device_id, "%s-d%07d", options.run, (int)i);
    device->next_sequence = 1;
  }
  return source;
}

static void fill_context(uint64_t number, struct context_values* context) {
  static const char* const names[provinces] = {
    "Anhui", "Beijing", "Chongqing", "Fujian", "Gansu", "Guangdong", "Guangxi", "Guizhou", "Hainan", "Hebei",
    "Heilongjiang", "Henan", "Hubei", "Hunan", "Inner Mongolia", "Jiangsu", "Jiangxi", "Jilin", "Liaoning", "Ningxia",
    "Qinghai", "Shaanxi", "Shandong", "Shanghai", "Shanxi", "Sichuan", "Tianjin", "Tibet", "Xinjiang", "Yunnan",
    "Zhejiang"};
  static const char* const models[] = {"iPhone 15 Pro", "Mate 60 Pro", "Xiaomi 14", "Find X7"};
  static const char* const brands[] = {"Apple", "HUAWEI", "Xiaomi", "OPPO"};
  static const int scenes[] = {1001, 1007, 1011, 1089};
  *context = (struct context_values){
    .texts = {"CN", names[number % provinces], "Hangzhou", number % 2 ? "female" : "male", "phone",
              number % 3 ? "wifi" : "5g", number % 4 ? "Android" : "iOS", "17.4.1", "zh_CN", brands[number % 4],
              models[number % 4], brands[number % 4]},
    .device_width = 393, .device_height = 852, .scene = scenes[number % 4]};
}

static void fill_event(uint64_t device, const char* device_id, uint64_t sequence, uint64_t time_ms, bool by_id,
                       struct event_values* event) {
  uint64_t kind = sequence % 10;
  event->name = kind < 5 ? "$page_view" : kind < 8 ? "$page_leave" : kind == 8 ? "add_to_cart" : "purchase";
  event->is_leave = kind >= 5 && kind < 8;
  event->is_purchase = kind >= 8;
  event->sequence = sequence;
  event->time_ms = time_ms;
  event->number = event->is_leave ? 1500 + sequence % 4000 : 1 + sequence % 3;
  event->price = (double)(sequence % 400) + 0.9;
  event->is_member = device % 3 == 0;
  snprintf(event->page_path, sizeof event->page_path, "pages/product/detail%llu",
           (unsigned long long)((sequence * 13 + device) % pages));
  snprintf(event->product_id, sizeof event->product_id, "sku-%llu", (unsigned long long)(sequence * 7919 % 5000));
  event->event_id[0] = 0;
  if (by_id)
    snprintf(event->event_id, sizeof event->event_id, "%s-%llu", device_id, (unsigned long long)sequence);
}

// When a device's batch ends: now, or on its day of the history, always later than the device's last one.
static uint64_t batch_time(const struct event_source* source, struct device* device, uint64_t number, uint64_t now_ms) {
  uint64_t batch = device->batches++;
  if (source->options.days == 0) return now_ms;
  uint64_t span = (uint64_t)source->options.days * day_ms;
  uint64_t step = span / (source->batches_per_device + 1);
  return now_ms - span + batch * step + number * 7919 % (step > day_ms ? day_ms : step);
}

bool event_source_next(struct event_source* source, int slot, struct batch* batch) {
  if (source->sent == source->options.batches) return false;
  source->sent++;
  int turn = source->turn[slot];
  source->turn[slot] = (turn + 1) % source->devices_per_slot;
  uint64_t number = (uint64_t)slot * source->devices_per_slot + turn;
  struct device* device = &source->devices[number];
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  batch->sent_ms = (uint64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
  uint64_t end_ms = batch_time(source, device, number, batch->sent_ms);
  batch->device = device;
  batch->device_number = number;
  fill_context(number, &batch->context);
  batch->event_cnt = source->options.batch_events;
  for (int i = 0; i < batch->event_cnt; i++) {
    uint64_t time_ms = end_ms - (uint64_t)(batch->event_cnt - i) * 50;
    fill_event(number, device->device_id, device->next_sequence++, time_ms, source->options.by_id, &batch->events[i]);
  }
  return true;
}

uint64_t event_source_devices_used(const struct event_source* source) {
  uint64_t used = 0;
  for (int i = 0; i < source->slots * source->devices_per_slot; i++) used += source->devices[i].batches > 0;
  return used;
}
