// Sends the events of the load client to PostgreSQL or NATS JetStream and prints one `name value` per line.
//
//   stores postgres|jetstream --target CONNECTION|PORT --clients 64 --batches N --batch-events 20 --users N --run NAME
#include "stores.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void die(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfprintf(stderr, format, arguments);
  va_end(arguments);
  fputc('\n', stderr);
  exit(1);
}

void begin_batch(struct stores* stores, uint64_t* started_ns) {
  stores->started++;
  *started_ns = now_ns();
}

void end_batch(struct stores* stores, uint64_t started_ns) {
  stores->latencies[stores->done++] = (float)(now_ns() - started_ns) / 1000;
}

static int compare_floats(const void* left, const void* right) {
  float a = *(const float*)left, b = *(const float*)right;
  return a < b ? -1 : a > b;
}

int main(int count, char** arguments) {
  static const struct option names[] = {{"target", 1, 0, 't'}, {"clients", 1, 0, 'c'}, {"batches", 1, 0, 'n'},
                                        {"batch-events", 1, 0, 'B'}, {"users", 1, 0, 'U'}, {"run", 1, 0, 'R'}, {0}};
  if (count < 2) die("stores: postgres or jetstream");
  struct stores stores = {.clients = 64, .events = {.run = "peer", .batch_events = 20, .users = 20000,
                                                    .four_fields = true}};
  int key;
  while ((key = getopt_long(count - 1, arguments + 1, "", names, NULL)) != -1) {
    switch (key) {
      case 't': stores.target = optarg; break;
      case 'c': stores.clients = atoi(optarg); break;
      case 'n': stores.events.batches = strtoull(optarg, NULL, 10); break;
      case 'B': stores.events.batch_events = atoi(optarg); break;
      case 'U': stores.events.users = atoi(optarg); break;
      case 'R': stores.events.run = optarg; break;
      default: die("stores: unknown option");
    }
  }
  if (!stores.target || stores.events.batches == 0) die("stores: --target and --batches are needed");
  if (stores.clients < 1 || stores.clients > clients_max) die("stores: --clients: 1-%d", clients_max);
  if (stores.events.batch_events < 1 || stores.events.batch_events > batch_events_max)
    die("stores: --batch-events: 1-%d", batch_events_max);
  stores.source = event_source_make(stores.events, stores.clients);
  stores.latencies = malloc(stores.events.batches * sizeof(float));
  if (strcmp(arguments[1], "postgres") == 0) {
    send_to_postgres(&stores);
  } else if (strcmp(arguments[1], "jetstream") == 0) {
    send_to_jetstream(&stores);
  } else {
    die("stores: postgres or jetstream");
  }
  double seconds = (double)(stores.end_ns - stores.begin_ns) / 1e9;
  qsort(stores.latencies, stores.done, sizeof(float), compare_floats);
  printf("batches %llu\nseconds %.4f\nbatches_per_second %.1f\n", (unsigned long long)stores.done, seconds,
         (double)stores.done / seconds);
  printf("p50_microseconds %.1f\np99_microseconds %.1f\n", stores.latencies[stores.done / 2],
         stores.latencies[stores.done * 99 / 100]);
  return 0;
}
