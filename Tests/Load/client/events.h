// The events that load is made of, before anybody encodes them: what a mini program's SDK would send.
#ifndef FOOTFALL_LOAD_EVENTS_H
#define FOOTFALL_LOAD_EVENTS_H

#include <stdbool.h>
#include <stdint.h>

enum { batch_events_max = 200, context_texts = 12 };

struct event_options {
  const char* run;
  uint64_t batches;
  int batch_events, users;
  // 0: events happen now. Else they are history: each device's batches are spread over so many days.
  int days;
  // Every event has four custom fields, instead of none to three.
  bool four_fields;
  // Events carry an id instead of their device's number.
  bool by_id;
};

struct device {
  char open_id[40], device_id[40];
  uint64_t next_sequence, batches;
};

struct event_values {
  const char* name;
  char page_path[40], product_id[24], event_id[64];
  uint64_t sequence, time_ms;
  // `stay_ms` of a $page_leave, else `quantity`.
  uint64_t number;
  double price;
  bool is_leave, is_purchase, is_member;
};

// Texts of the default fields after open_id: country province city gender device network_type os_name os_version
// language manufacturer device_model device_brand.
struct context_values {
  const char* texts[context_texts];
  int device_width, device_height, scene;
};

struct batch {
  const struct device* device;
  uint64_t device_number, sent_ms;
  struct context_values context;
  int event_cnt;
  struct event_values events[batch_events_max];
};

struct event_source {
  struct event_options options;
  uint64_t sent, batches_per_device;
  int slots, devices_per_slot;
  struct device* devices;
  // Of each slot: which of its devices is next.
  int* turn;
};

// `slots`: senders that each have devices of their own, taken in turn.
struct event_source* event_source_make(struct event_options options, int slots);

// The next batch of a slot; false where all have been sent.
bool event_source_next(struct event_source* source, int slot, struct batch* batch);

// How many devices, each a user of its own, have sent a batch.
uint64_t event_source_devices_used(const struct event_source* source);

#endif
