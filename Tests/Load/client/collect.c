// Batches of events to Ingest.Collect.
#include <stdlib.h>

#include "request.h"
#include "workloads.h"

extern uint64_t checksum_of_answers;

struct collect {
  struct collect_options options;
  int lanes_per_connection;
  struct event_source* source;
};

static size_t collect_request(void* state, int connection, int lane, uint8_t* out) {
  struct collect* collect = state;
  static struct batch batch;
  if (!event_source_next(collect->source, connection * collect->lanes_per_connection + lane, &batch)) return 0;
  return encode_request(&batch, &collect->options.events, collect->options.app, out);
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
  return accepted == (uint64_t)collect->options.events.batch_events;
}

void collect_workload(struct load* load, struct collect_options options) {
  struct collect* collect = calloc(1, sizeof *collect);
  collect->options = options;
  collect->lanes_per_connection = load->lanes;
  collect->source = event_source_make(options.events, load->connections * load->lanes);
  load->request_bytes = request_bytes(&options.events);
  load->workload = (struct workload){.request = collect_request, .answer = collect_answer, .state = collect};
}

uint64_t collect_devices_used(const struct load* load) {
  const struct collect* collect = load->workload.state;
  return event_source_devices_used(collect->source);
}
