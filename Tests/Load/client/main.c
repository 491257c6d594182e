// The load client. Prints one `name value` per line; exit status 0 only if every answer was right.
//
//   load echo    [--bytes 100]
//   load stream  [--bytes 100] [--messages 100]    bidirectional: each message of a call comes back
//   load count   [--bytes 100] [--messages 1000]   server streaming: so many messages for one
//   load replay  --request FILE --answer FILE [--request FILE --answer FILE ...]
//   load collect --app ID --run NAME --users N --batch-events N --calls N [--days N]
//                [--four-fields] [--by-id]
//   load history --app ID --users N --days N [--events N]    a deterministic history of so many users, at most N events
//
// with --port P --path /package.Service/Method [--host 127.0.0.1] [--token SECRET] [--connections 10] [--lanes 100]
// and --calls N or --seconds S. --status N: every call must fail with this grpc-status. --rate N: so many calls per second,
// however soon the answers come. --refusals: RESOURCE_EXHAUSTED with a pushback is a right answer.
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workloads.h"

enum { files_max = 256, latencies_max = 20000000, stream_request_bytes_max = 60000 };

struct options {
  double seconds;
  size_t bytes;
  int messages;
  char *requests[files_max], *answers[files_max];
  int request_cnt, answer_cnt;
  struct collect_options collect;
  uint64_t events;
};

static const struct option names[] = {
  {"port", 1, 0, 'p'}, {"path", 1, 0, 'u'}, {"host", 1, 0, 'h'}, {"token", 1, 0, 't'}, {"connections", 1, 0, 'c'},
  {"lanes", 1, 0, 'l'}, {"calls", 1, 0, 'n'}, {"seconds", 1, 0, 's'}, {"bytes", 1, 0, 'b'}, {"request", 1, 0, 'q'},
  {"answer", 1, 0, 'a'}, {"app", 1, 0, 'A'}, {"run", 1, 0, 'R'}, {"users", 1, 0, 'U'}, {"batch-events", 1, 0, 'B'},
  {"days", 1, 0, 'D'}, {"messages", 1, 0, 'm'}, {"events", 1, 0, 'E'},
  {"four-fields", 0, 0, '4'}, {"by-id", 0, 0, 'I'}, {"rate", 1, 0, 'r'}, {"refusals", 0, 0, 'x'},
  {"status", 1, 0, 'S'}, {0}};

static void usage(const char* complaint) {
  fprintf(stderr, "load: %s\n", complaint);
  exit(2);
}

static void parse(int count, char** arguments, struct load* load, struct options* options) {
  int key;
  while ((key = getopt_long(count, arguments, "", names, NULL)) != -1) {
    switch (key) {
      case 'p': load->port = atoi(optarg); break;
      case 'u': load->path = optarg; break;
      case 'h': load->host = optarg; break;
      case 't': load->token = optarg; break;
      case 'c': load->connections = atoi(optarg); break;
      case 'l': load->lanes = atoi(optarg); break;
      case 'n': load->calls_max = strtoull(optarg, NULL, 10); break;
      case 's': options->seconds = atof(optarg); break;
      case 'b': options->bytes = strtoull(optarg, NULL, 10); break;
      case 'q':
        if (options->request_cnt == files_max) usage("too many requests");
        options->requests[options->request_cnt++] = optarg;
        break;
      case 'a':
        if (options->answer_cnt == files_max) usage("too many answers");
        options->answers[options->answer_cnt++] = optarg;
        break;
      case 'A': options->collect.app = optarg; break;
      case 'R': options->collect.events.run = optarg; break;
      case 'U': options->collect.events.users = atoi(optarg); break;
      case 'B': options->collect.events.batch_events = atoi(optarg); break;
      case 'm': options->messages = atoi(optarg); break;
      case 'S': load->grpc_status = atoi(optarg); break;
      case 'D': options->collect.events.days = atoi(optarg); break;
      case 'r': load->rate = atof(optarg); break;
      case 'x': load->may_refuse = true; break;
      case 'E': options->events = strtoull(optarg, NULL, 10); break;
      case '4': options->collect.events.four_fields = true; break;
      case 'I': options->collect.events.by_id = true; break;
      default: usage("unknown option");
    }
  }
  if (load->port <= 0 || load->port > 65535 || !load->path) usage("--port and --path are needed");
  if (load->connections < 1 || load->connections > 1024) usage("--connections: 1-1024");
  if (load->lanes < 1 || load->lanes > lanes_max) usage("--lanes: 1-1024");
}

// Before the latencies are sorted.
static void print_slices(struct load* load) {
  printf("due %llu\nunsent %llu\nrefused %llu\n", (unsigned long long)load->due, (unsigned long long)load->unsent,
         (unsigned long long)load->refused);
  for (size_t i = 0; i + 1 < load->slice_cnt; i++) {
    size_t begin = load->slice_latencies[i], end = load->slice_latencies[i + 1];
    size_t first = load->slice_refusals[i], last = load->slice_refusals[i + 1];
    printf("slice_%zu_accepted %zu\nslice_%zu_refused %zu\nslice_%zu_p99_microseconds %.1f\nslice_%zu_refusal_p99_microseconds %.1f\n",
           i, end - begin, i, last - first, i, slice_percentile(&load->latencies, begin, end, 0.99), i,
           slice_percentile(&load->refusal_latencies, first, last, 0.99));
  }
  printf("refusal_p50_microseconds %.1f\nrefusal_p99_microseconds %.1f\n",
         latency_percentile(&load->refusal_latencies, 0.5), latency_percentile(&load->refusal_latencies, 0.99));
}

int main(int count, char** arguments) {
  if (count < 2) usage("echo, stream, count, replay, collect or history");
  signal(SIGPIPE, SIG_IGN);
  const char* mode = arguments[1];
  struct options options = {.bytes = 100, .collect.events = {.batch_events = 20, .users = 10000, .run = "load"}};
  struct load load = {.host = "127.0.0.1", .connections = 10, .lanes = 100};
  parse(count - 1, arguments + 1, &load, &options);
  struct history* history = NULL;
  if (load.calls_max == 0 && options.seconds <= 0 && strcmp(mode, "history") != 0) usage("--calls or --seconds is needed");
  load.latencies.cap = load.calls_max && load.calls_max < latencies_max ? load.calls_max : latencies_max;
  load.latencies.values = malloc(load.latencies.cap * sizeof(float));
  load.refusal_latencies.cap = load.latencies.cap;
  load.refusal_latencies.values = malloc(load.latencies.cap * sizeof(float));
  if (strcmp(mode, "echo") == 0) {
    if (options.bytes < 8 || options.bytes > 60000) usage("--bytes: 8-60000");
    echo_workload(&load, options.bytes);
  } else if (strcmp(mode, "stream") == 0) {
    int messages = options.messages ? options.messages : 100;
    if (options.bytes < 8 || messages < 1 || (options.bytes + 5) * messages > stream_request_bytes_max)
      usage("stream: 1 or more messages, at most 60000 bytes together");
    stream_workload(&load, options.bytes, messages);
  } else if (strcmp(mode, "count") == 0) {
    int messages = options.messages ? options.messages : 1000;
    // An answer lies within the stream's window: the client opens only that of the connection.
    if (options.bytes < 8 || messages < 1000 || messages % 1000 != 0 ||
        (options.bytes + 5) * messages > answer_bytes_max)
      usage("count: whole thousands of messages, at most 1 MiB together");
    count_workload(&load, options.bytes, messages);
  } else if (strcmp(mode, "replay") == 0) {
    if (options.request_cnt == 0 || options.request_cnt != options.answer_cnt) usage("one --answer for each --request");
    replay_workload(&load, options.requests, options.answers, options.request_cnt);
  } else if (strcmp(mode, "collect") == 0) {
    options.collect.events.batches = load.calls_max ? load.calls_max : UINT64_MAX;
    if (!options.collect.app) usage("--app is needed");
    if (options.collect.events.batch_events < 1 || options.collect.events.batch_events > batch_events_max) usage("--batch-events: 1-200");
    if (options.collect.events.days < 0 || options.collect.events.days > 3650) usage("--days: 0-3650");
    if (options.collect.events.days > 0 && !load.calls_max) usage("--days needs --calls");
    collect_workload(&load, options.collect);
  } else if (strcmp(mode, "history") == 0) {
    if (!options.collect.app) usage("--app is needed");
    if (options.collect.events.users < 1 || options.collect.events.days < 1 || options.collect.events.days > 366)
      usage("history: --users from 1 on, --days 1-366");
    history = history_workload(&load, options.collect.app, (struct history_options){
      options.collect.events.users, options.collect.events.days, options.events});
  } else {
    usage("echo, stream, count, replay, collect or history");
  }
  if (load.calls_max == 0) load.calls_max = UINT64_MAX;
  load.deadline_ns = options.seconds > 0 ? monotonic_ns() + (uint64_t)(options.seconds * 1e9) : UINT64_MAX;
  bool whole = load_run(&load);
  if (!whole) return 3;
  double seconds = (double)(load.end_ns - load.begin_ns) / 1e9;
  printf("calls %llu\nbad %llu\nseconds %.4f\ncalls_per_second %.1f\n", (unsigned long long)load.done,
         (unsigned long long)load.bad, seconds, (double)load.done / seconds);
  printf("messages %llu\nmessages_per_second %.1f\n", (unsigned long long)load.messages,
         (double)load.messages / seconds);
  if (load.rate > 0) print_slices(&load);
  printf("p50_microseconds %.1f\np99_microseconds %.1f\np999_microseconds %.1f\nchecksum %016llx\n",
         latency_percentile(&load.latencies, 0.5), latency_percentile(&load.latencies, 0.99),
         latency_percentile(&load.latencies, 0.999), (unsigned long long)workload_checksum());
  if (strcmp(mode, "collect") == 0)
    printf("users %llu\n", (unsigned long long)collect_devices_used(&load));
  if (history)
    printf("events %llu\nopens %llu\n", (unsigned long long)history->event_cnt, (unsigned long long)history->open_cnt);
  if (load.bad > 0) fprintf(stderr, "load: %llu of %llu answers were wrong; first: %s\n", (unsigned long long)load.bad,
                            (unsigned long long)load.done, load.first_failure);
  return load.bad == 0 && load.done > 0 ? 0 : 1;
}
