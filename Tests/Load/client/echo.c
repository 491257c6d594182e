#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "workloads.h"

uint64_t checksum_of_answers;

uint64_t workload_checksum(void) { return checksum_of_answers; }

uint64_t fold_bytes(const uint8_t* bytes, size_t length) {
  uint64_t hash = 0x9e3779b97f4a7c15u ^ length;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  for (; length > 0; bytes++, length--) hash = (hash ^ *bytes) * 0x100000001b3u;
  return hash;
}

struct echo {
  size_t bytes;
  uint64_t next_call;
  uint8_t* body;
  uint64_t* call_of_lane;
};

static size_t echo_request(void* state, int connection, int lane, uint8_t* out) {
  struct echo* echo = state;
  uint64_t call = echo->next_call++;
  echo->call_of_lane[connection * lanes_max + lane] = call;
  memcpy(out, echo->body, echo->bytes);
  memcpy(out, &call, 8);
  return echo->bytes;
}

static bool echo_answer(void* state, int connection, int lane, const uint8_t* message, size_t length) {
  struct echo* echo = state;
  checksum_of_answers += fold_bytes(message, length);
  return length == echo->bytes && memcmp(message, &echo->call_of_lane[connection * lanes_max + lane], 8) == 0 &&
         memcmp(message + 8, echo->body + 8, length - 8) == 0;
}

static struct echo* make_echo(struct load* load, size_t bytes) {
  struct echo* echo = calloc(1, sizeof *echo);
  echo->bytes = bytes;
  echo->body = malloc(bytes);
  echo->call_of_lane = calloc((size_t)load->connections * lanes_max, sizeof(uint64_t));
  uint64_t random = 0x2545f4914f6cdd1du;
  for (size_t i = 0; i < bytes; i++) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    echo->body[i] = random;
  }
  load->request_bytes = bytes;
  return echo;
}

void echo_workload(struct load* load, size_t bytes) {
  struct echo* echo = make_echo(load, bytes);
  load->workload = (struct workload){.request = echo_request, .answer = echo_answer, .state = echo};
}

// MARK: Streams

struct stream_echo {
  struct echo* echo;
  int messages;
  // The number of the message that each lane has to get back next.
  uint64_t* next_of_lane;
};

static size_t stream_request(void* state, int connection, int lane, uint8_t* out) {
  struct stream_echo* stream = state;
  size_t whole = stream->echo->bytes + 5;
  stream->next_of_lane[connection * lanes_max + lane] = stream->echo->next_call;
  for (int i = 0; i < stream->messages; i++, out += whole) {
    out[0] = 0, out[1] = 0, out[2] = stream->echo->bytes >> 16, out[3] = stream->echo->bytes >> 8;
    out[4] = stream->echo->bytes;
    memcpy(out + 5, stream->echo->body, stream->echo->bytes);
    memcpy(out + 5, &stream->echo->next_call, 8);
    stream->echo->next_call++;
  }
  return whole * stream->messages;
}

static bool stream_answer(void* state, int connection, int lane, const uint8_t* message, size_t length) {
  struct stream_echo* stream = state;
  uint64_t* next = &stream->next_of_lane[connection * lanes_max + lane];
  checksum_of_answers += fold_bytes(message, length);
  return length == stream->echo->bytes && memcmp(message, next, 8) == 0 && ++*next > 0 &&
         memcmp(message + 8, stream->echo->body + 8, length - 8) == 0;
}

void stream_workload(struct load* load, size_t bytes, int messages) {
  struct stream_echo* stream = calloc(1, sizeof *stream);
  stream->echo = make_echo(load, bytes);
  stream->messages = messages;
  stream->next_of_lane = calloc((size_t)load->connections * lanes_max, sizeof(uint64_t));
  load->request_bytes = (bytes + 5) * messages;
  load->workload = (struct workload){
    .answers = messages, .framed = true, .request = stream_request, .answer = stream_answer, .state = stream};
}

// The first byte says how many thousands; the call's number takes the seven behind it.
static size_t count_request(void* state, int connection, int lane, uint8_t* out) {
  struct stream_echo* stream = state;
  struct echo* echo = stream->echo;
  uint64_t call = echo->next_call++ << 8 | (uint64_t)(stream->messages / 1000);
  echo->call_of_lane[connection * lanes_max + lane] = call;
  memcpy(out, echo->body, echo->bytes);
  memcpy(out, &call, 8);
  return echo->bytes;
}

static bool count_answer(void* state, int connection, int lane, const uint8_t* message, size_t length) {
  return echo_answer(((struct stream_echo*)state)->echo, connection, lane, message, length);
}

void count_workload(struct load* load, size_t bytes, int messages) {
  struct stream_echo* stream = calloc(1, sizeof *stream);
  stream->echo = make_echo(load, bytes);
  stream->messages = messages;
  load->workload =
    (struct workload){.answers = messages, .request = count_request, .answer = count_answer, .state = stream};
}

// MARK: Replay

struct file {
  uint8_t* bytes;
  size_t length;
};

struct replay {
  struct file *requests, *answers;
  int count;
  uint64_t next_call;
  int* asked_by_lane;
};

static struct file read_whole(const char* path) {
  FILE* stream = fopen(path, "rb");
  if (!stream) {
    perror(path);
    exit(2);
  }
  struct file file = {malloc(answer_bytes_max), 0};
  file.length = fread(file.bytes, 1, answer_bytes_max, stream);
  fclose(stream);
  return file;
}

static size_t replay_request(void* state, int connection, int lane, uint8_t* out) {
  struct replay* replay = state;
  int asked = replay->next_call++ % replay->count;
  replay->asked_by_lane[connection * lanes_max + lane] = asked;
  memcpy(out, replay->requests[asked].bytes, replay->requests[asked].length);
  return replay->requests[asked].length;
}

static bool replay_answer(void* state, int connection, int lane, const uint8_t* message, size_t length) {
  struct replay* replay = state;
  const struct file* expected = &replay->answers[replay->asked_by_lane[connection * lanes_max + lane]];
  checksum_of_answers += fold_bytes(message, length);
  return length == expected->length && memcmp(message, expected->bytes, length) == 0;
}

void replay_workload(struct load* load, char** request_files, char** answer_files, int count) {
  struct replay* replay = calloc(1, sizeof *replay);
  replay->requests = calloc(count, sizeof(struct file));
  replay->answers = calloc(count, sizeof(struct file));
  replay->count = count;
  replay->asked_by_lane = calloc((size_t)load->connections * lanes_max, sizeof(int));
  for (int i = 0; i < count; i++) {
    replay->requests[i] = read_whole(request_files[i]);
    replay->answers[i] = read_whole(answer_files[i]);
    if (replay->requests[i].length > load->request_bytes) load->request_bytes = replay->requests[i].length;
  }
  load->workload = (struct workload){.request = replay_request, .answer = replay_answer, .state = replay};
}
