// Senders of batches to the stores that ingest is compared with: 64 or so clients, each with one batch on its way.
#ifndef FOOTFALL_LOAD_STORES_H
#define FOOTFALL_LOAD_STORES_H

#include "events.h"

enum { clients_max = 256 };

struct stores {
  // PostgreSQL: a libpq connection string. JetStream: a port of this machine.
  const char* target;
  int clients;
  struct event_options events;
  struct event_source* source;
  uint64_t started, done;
  // Of each answered batch, µs.
  float* latencies;
  uint64_t begin_ns, end_ns;
};

uint64_t now_ns(void);
void begin_batch(struct stores* stores, uint64_t* started_ns);
void end_batch(struct stores* stores, uint64_t started_ns);
void die(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));

// Both return once every batch is acknowledged, and end the process where an answer is not the expected one.
void send_to_postgres(struct stores* stores);
void send_to_jetstream(struct stores* stores);

#endif
