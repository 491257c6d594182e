// What the load client can ask.
#ifndef FOOTFALL_LOAD_WORKLOADS_H
#define FOOTFALL_LOAD_WORKLOADS_H

#include "events.h"
#include "h2.h"
#include "history.h"

// Messages of `bytes` random bytes that begin with the call's number; each answer must be the very same bytes.
void echo_workload(struct load* load, size_t bytes);

// Bidirectional echo: each call sends `messages` messages of `bytes` at once and must get each of them back, in order.
void stream_workload(struct load* load, size_t bytes, int messages);

// Server streaming: each call asks for `messages` (1,000-255,000, whole thousands) copies of its message.
void count_workload(struct load* load, size_t bytes, int messages);

// Requests from files in turn; each answer must be byte for byte the one in the file beside it.
void replay_workload(struct load* load, char** request_files, char** answer_files, int count);

struct collect_options {
  const char* app;
  struct event_options events;
};

// Batches of one device's events, made anew for each call: each device numbers its events from 1. Every answer must
// accept the whole batch, none of it a duplicate.
void collect_workload(struct load* load, struct collect_options options);

// How many devices, each a user of its own, have sent a batch.
uint64_t collect_devices_used(const struct load* load);

// A history, one open to a batch, in the order in which the opens begin; an import, for it is older than events may be late.
// Every answer must accept the whole batch.
struct history* history_workload(struct load* load, const char* app, struct history_options options);

// What was answered, folded into 64 bits independently of the order.
uint64_t workload_checksum(void);

#endif
