// A lean HTTP/2 client for load: fixed request headers, many calls at once on each connection, every answer checked.
//
// It costs a fraction of what a server needs for a call, so that the server's core is what is measured. What the server
// sends is parsed in full: response headers go through nghttp2's HPACK decoder (blocks of indexed fields only, which
// change no state, are remembered), messages are put together from DATA frames and handed to the workload.
#ifndef FOOTFALL_LOAD_H2_H
#define FOOTFALL_LOAD_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <nghttp2/nghttp2.h>

enum {
  lanes_max = 1024,
  stream_slots = 4096,
  output_bytes_max = 4 << 20,
  output_bytes_enough = 256 << 10,
  input_bytes_max = 4 << 20,
  request_bytes_max = 256 << 10,
  answer_bytes_max = 1 << 20,
  remembered_block_bytes_max = 64,
  slices_max = 600,
};

struct connection;

// What is asked and how an answer is judged. `lane` is one of the calls that run at once, with state of its own.
struct workload {
  // Messages of a call's answer; 0 counts as one.
  uint64_t answers;
  // Whether `request` writes whole messages with their prefixes: a client's stream, sent at once and then ended.
  bool framed;
  // Writes the message of the lane's next call to `out` (room for `request_bytes_max`); returns its length, or 0 when
  // there is nothing more to ask.
  size_t (*request)(void* state, int connection, int lane, uint8_t* out);
  // Judges a message of the answer to the lane's call.
  bool (*answer)(void* state, int connection, int lane, const uint8_t* message, size_t length);
  void* state;
};

struct lane {
  uint64_t started_ns;
  uint32_t stream_id;
  // A message that came in several frames.
  uint8_t* message;
  size_t message_bytes;
  uint64_t answered;
  bool head_seen, head_good, good;
};

// A block of indexed header fields and what it says, for the next time it comes.
struct remembered_block {
  uint8_t bytes[remembered_block_bytes_max];
  size_t length;
  int http_status, grpc_status;
  bool has_pushback;
};

struct connection {
  int fd, index;
  uint32_t next_stream_id;
  int lane_cnt, free_cnt;
  int* free_lanes;
  struct lane* lanes;
  int16_t* lane_of_stream;
  // A request that was larger than the window, and how much of it is sent.
  uint8_t* rest;
  size_t rest_bytes, rest_sent;
  uint32_t rest_stream;
  int64_t window;
  int64_t stream_window;
  uint32_t streams_max, frame_bytes_max;
  uint64_t received_unannounced;
  bool settings_seen, headers_sent, exhausted, wants_write;
  uint8_t *out, *in;
  size_t out_bytes, out_sent, in_bytes;
  // A header block that came in several frames.
  uint8_t block[16 << 10];
  size_t block_bytes;
  uint32_t block_stream;
  bool block_ends_stream;
  nghttp2_hd_inflater* inflater;
  struct remembered_block remembered[2];
};

struct latencies {
  // Microseconds, one per call, up to `cap`; later ones are counted only.
  float* values;
  size_t count, cap;
};

struct load {
  const char *host, *path, *token;
  int port, connections, lanes;
  // What every call must end with. Other than 0: without a message.
  int grpc_status;
  uint64_t calls_max, deadline_ns;
  // Calls per second, however soon the answers come: those for which no lane is free are not sent. 0: as soon as a lane is.
  double rate;
  // RESOURCE_EXHAUSTED with a pushback is a right answer too.
  bool may_refuse;
  // The most that a request takes.
  size_t request_bytes;
  struct workload workload;
  uint64_t started, done, bad, messages;
  char first_failure[512];
  struct latencies latencies, refusal_latencies;
  // Of an open loop: calls that were due, those that were not sent, those that were refused.
  uint64_t due, unsent, refused;
  // How many latencies there were when each second began, of calls that were answered OK and of refused ones.
  size_t slice_cnt, slice_latencies[slices_max], slice_refusals[slices_max];
  uint64_t begin_ns, end_ns;
  uint8_t first_headers[1024], next_headers[64];
  size_t first_headers_bytes, next_headers_bytes;
};

uint64_t monotonic_ns(void);

// Runs the whole load; false where a connection failed, stalled, or the server broke the protocol.
bool load_run(struct load* load);

// Keeps the first failure's words for the report.
void load_note(struct load* load, const char* format, ...) __attribute__((format(printf, 2, 3)));

// The latency below which `share` of the calls begin ..< end lie, in the order in which they ended, µs.
double slice_percentile(const struct latencies* latencies, size_t begin, size_t end, double share);

// The same of all calls. Sorts.
double latency_percentile(struct latencies* latencies, double share);

#endif
