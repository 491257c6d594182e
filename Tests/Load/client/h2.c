#define _GNU_SOURCE
#include "h2.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { frame_head_bytes = 9, first_part_bytes = 16384, stall_milliseconds = 20000, receive_window = 64 << 20 };
enum { type_data, type_headers, type_priority, type_reset, type_settings, type_push, type_ping, type_goaway,
       type_window, type_continuation };
enum { flag_end_stream = 1, flag_ack = 1, flag_end_headers = 4, flag_padded = 8, flag_priority = 32 };

uint64_t monotonic_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

void load_note(struct load* load, const char* format, ...) {
  if (load->first_failure[0]) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(load->first_failure, sizeof load->first_failure, format, arguments);
  va_end(arguments);
}

static int compare_floats(const void* left, const void* right) {
  float a = *(const float*)left, b = *(const float*)right;
  return a < b ? -1 : a > b;
}

double slice_percentile(const struct latencies* latencies, size_t begin, size_t end, double share) {
  if (end <= begin) return 0;
  float* values = malloc((end - begin) * sizeof(float));
  memcpy(values, latencies->values + begin, (end - begin) * sizeof(float));
  qsort(values, end - begin, sizeof(float), compare_floats);
  size_t at = (size_t)((double)(end - begin) * share);
  double value = values[at < end - begin ? at : end - begin - 1];
  free(values);
  return value;
}

double latency_percentile(struct latencies* latencies, double share) {
  if (latencies->count == 0) return 0;
  qsort(latencies->values, latencies->count, sizeof(float), compare_floats);
  size_t at = (size_t)((double)latencies->count * share);
  return latencies->values[at < latencies->count ? at : latencies->count - 1];
}

// MARK: Frames

static uint32_t read32(const uint8_t* p) {
  return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint8_t* write32(uint8_t* p, uint32_t value) {
  p[0] = value >> 24, p[1] = value >> 16, p[2] = value >> 8, p[3] = value;
  return p + 4;
}

static uint8_t* write_frame_head(uint8_t* p, size_t length, int type, int flags, uint32_t stream) {
  p[0] = length >> 16, p[1] = length >> 8, p[2] = length, p[3] = type, p[4] = flags;
  return write32(p + 5, stream);
}

static uint8_t* room(struct connection* c, size_t bytes) {
  if (c->out_bytes + bytes > output_bytes_max) {
    fprintf(stderr, "output buffer of connection %d is full\n", c->index);
    exit(3);
  }
  return c->out + c->out_bytes;
}

static void put_window_update(struct connection* c, uint32_t bytes) {
  write32(write_frame_head(room(c, 13), 4, type_window, 0, 0), bytes);
  c->out_bytes += 13;
}

// A literal field that enters the peer's table: `index` of the static table's name, or 0 with the name.
static uint8_t* put_field(uint8_t* p, int index, const char* name, const char* value) {
  *p++ = 0x40 | index;
  if (index == 0) {
    size_t length = strlen(name);
    *p++ = length;
    p = (uint8_t*)memcpy(p, name, length) + length;
  }
  size_t length = strlen(value);
  if (length >= 127) {
    *p++ = 127;
    *p++ = length - 127;  // Checked to be under 255 in total by `make_headers`.
  } else {
    *p++ = length;
  }
  return (uint8_t*)memcpy(p, value, length) + length;
}

static void make_headers(struct load* load) {
  char authority[128], authorization[256];
  snprintf(authority, sizeof authority, "%s:%d", load->host, load->port);
  int token_bytes = snprintf(authorization, sizeof authorization, "Bearer %s", load->token ? load->token : "");
  if (strlen(load->path) > 120 || token_bytes > 240) {
    fprintf(stderr, "the path or the token is too long\n");
    exit(2);
  }
  uint8_t* p = load->first_headers;
  int fields = 5 + (load->token != NULL);
  *p++ = 0x83;  // :method POST
  *p++ = 0x86;  // :scheme http
  p = put_field(p, 4, NULL, load->path);
  p = put_field(p, 1, NULL, authority);
  p = put_field(p, 31, NULL, "application/grpc");
  p = put_field(p, 0, "te", "trailers");
  p = put_field(p, 58, NULL, "footfall-load");
  if (load->token) p = put_field(p, 23, NULL, authorization);
  load->first_headers_bytes = p - load->first_headers;
  // From then on each of them is one byte: the newest entry of the table has index 62.
  p = load->next_headers;
  *p++ = 0x83;
  *p++ = 0x86;
  for (int field = fields - 1; field >= 0; field--) *p++ = 0x80 | (62 + field);
  load->next_headers_bytes = p - load->next_headers;
}

// MARK: Requests

// As much as the window takes of a request that is larger.
static void put_rest(struct connection* c) {
  while (c->rest_sent < c->rest_bytes && c->window > 0) {
    size_t part = c->rest_bytes - c->rest_sent;
    if (part > c->frame_bytes_max) part = c->frame_bytes_max;
    if ((int64_t)part > c->window) part = (size_t)c->window;
    bool is_last = c->rest_sent + part == c->rest_bytes;
    uint8_t* p = write_frame_head(
      room(c, part + frame_head_bytes), part, type_data, is_last ? flag_end_stream : 0, c->rest_stream);
    memcpy(p, c->rest + c->rest_sent, part);
    c->out_bytes += frame_head_bytes + part;
    c->rest_sent += part;
    c->window -= part;
  }
}

// The call is over: what is left of its request is not sent.
static void drop_rest(struct connection* c, uint32_t stream) {
  if (c->rest_stream != stream || c->rest_sent == c->rest_bytes) return;
  write32(write_frame_head(room(c, 13), 4, type_reset, 0, stream), NGHTTP2_CANCEL);
  c->out_bytes += 13;
  c->rest_sent = c->rest_bytes;
}

static void put_request(struct load* load, struct connection* c, struct lane* lane, const uint8_t* message,
                        size_t length) {
  const uint8_t* headers = c->headers_sent ? load->next_headers : load->first_headers;
  size_t headers_bytes = c->headers_sent ? load->next_headers_bytes : load->first_headers_bytes;
  c->headers_sent = true;
  uint8_t prefix[5] = {0};
  write32(prefix + 1, length);
  size_t prefix_bytes = load->workload.framed ? 0 : sizeof prefix;
  size_t body = length + prefix_bytes, frames = body / c->frame_bytes_max + 1;
  uint8_t* p = room(c, headers_bytes + body + (frames + 1) * frame_head_bytes);
  if (c->window < (int64_t)body) {
    // A part of it now, the rest as the server opens the window.
    p = write_frame_head(p, headers_bytes, type_headers, flag_end_headers, lane->stream_id);
    memcpy(p, headers, headers_bytes);
    c->out_bytes += frame_head_bytes + headers_bytes;
    memcpy(c->rest, prefix, prefix_bytes);
    memcpy(c->rest + prefix_bytes, message, length);
    c->rest_bytes = body, c->rest_sent = 0, c->rest_stream = lane->stream_id;
    put_rest(c);
    return;
  }
  uint8_t* begin = p;
  p = write_frame_head(p, headers_bytes, type_headers, flag_end_headers, lane->stream_id);
  p = (uint8_t*)memcpy(p, headers, headers_bytes) + headers_bytes;
  size_t first = body < c->frame_bytes_max ? body : c->frame_bytes_max;
  p = write_frame_head(p, first, type_data, first == body ? flag_end_stream : 0, lane->stream_id);
  p = (uint8_t*)memcpy(p, prefix, prefix_bytes) + prefix_bytes;
  p = (uint8_t*)memcpy(p, message, first - prefix_bytes) + (first - prefix_bytes);
  for (size_t at = first - prefix_bytes; at < length;) {
    size_t part = length - at < c->frame_bytes_max ? length - at : c->frame_bytes_max;
    p = write_frame_head(p, part, type_data, at + part == length ? flag_end_stream : 0, lane->stream_id);
    p = (uint8_t*)memcpy(p, message + at, part) + part;
    at += part;
  }
  c->out_bytes += p - begin;
  c->window -= body;
}

static bool may_start(struct load* load, struct connection* c) {
  if (c->free_cnt == 0 || c->exhausted || !c->settings_seen) return false;
  if (load->rate > 0 && load->started + load->unsent >= load->due) return false;
  if (load->started >= load->calls_max || c->out_bytes > output_bytes_enough) return false;
  if ((uint32_t)(c->lane_cnt - c->free_cnt) >= c->streams_max) return false;
  if (c->rest_sent < c->rest_bytes) return false;
  if (c->window < (int64_t)load->request_bytes + 5 && c->window < first_part_bytes) return false;
  return c->lane_of_stream[(c->next_stream_id >> 1) % stream_slots] < 0;
}

static void start_calls(struct load* load, struct connection* c, int calls_max) {
  static uint8_t message[request_bytes_max];
  uint64_t now = 0;
  while (calls_max-- > 0 && may_start(load, c)) {
    if (now == 0) now = monotonic_ns();
    if (now >= load->deadline_ns) {
      c->exhausted = true;
      return;
    }
    int index = c->free_lanes[c->free_cnt - 1];
    size_t length = load->workload.request(load->workload.state, c->index, index, message);
    if (length == 0) {
      c->exhausted = true;
      return;
    }
    if (length > load->request_bytes || (int64_t)length + 5 > c->stream_window) {
      fprintf(stderr, "a request of %zu bytes: at most %zu were announced, and the server's stream window is %lld\n",
              length, load->request_bytes, (long long)c->stream_window);
      exit(3);
    }
    c->free_cnt--;
    struct lane* lane = &c->lanes[index];
    lane->stream_id = c->next_stream_id;
    lane->started_ns = now;
    lane->message_bytes = 0;
    lane->head_seen = lane->head_good = false;
    lane->answered = 0, lane->good = true;
    c->lane_of_stream[(c->next_stream_id >> 1) % stream_slots] = index;
    c->next_stream_id += 2;
    load->started++;
    put_request(load, c, lane, message, length);
  }
}

// MARK: Answers

static struct lane* lane_of(struct connection* c, uint32_t stream) {
  int index = c->lane_of_stream[(stream >> 1) % stream_slots];
  if (index < 0 || c->lanes[index].stream_id != stream) return NULL;
  return &c->lanes[index];
}

static void note_latency(struct latencies* latencies, const struct lane* lane, uint64_t now) {
  if (latencies->count < latencies->cap)
    latencies->values[latencies->count++] = (float)(now - lane->started_ns) / 1000;
}

static void note_slice(struct load* load, uint64_t now) {
  size_t slice = (now - load->begin_ns) / 1000000000u;
  while (load->slice_cnt <= slice && load->slice_cnt < slices_max) {
    load->slice_latencies[load->slice_cnt] = load->latencies.count;
    load->slice_refusals[load->slice_cnt++] = load->refusal_latencies.count;
  }
}

static void finish(struct load* load, struct connection* c, struct lane* lane, bool good, bool refused, uint64_t now) {
  note_slice(load, now);
  int index = lane - c->lanes;
  drop_rest(c, lane->stream_id);
  c->lane_of_stream[(lane->stream_id >> 1) % stream_slots] = -1;
  c->free_lanes[c->free_cnt++] = index;
  load->done++;
  if (!good) {
    load->bad++;
    load_note(load, "stream %u: a wrong answer or none", lane->stream_id);
  }
  load->refused += refused;
  note_latency(refused ? &load->refusal_latencies : &load->latencies, lane, now);
}

// Reads `:status` and `grpc-status` of a block; -1 where it has none.
static bool read_block(struct connection* c, const uint8_t* bytes, size_t length, int* http, int* grpc,
                       bool* has_pushback, char* message, size_t message_room) {
  *has_pushback = false;
  bool indexed = length <= remembered_block_bytes_max;
  for (size_t i = 0; i < length && indexed; i++) indexed = bytes[i] >= 0x80;
  if (indexed) {
    for (int i = 0; i < 2; i++) {
      struct remembered_block* block = &c->remembered[i];
      if (block->length == length && memcmp(block->bytes, bytes, length) == 0) {
        *http = block->http_status, *grpc = block->grpc_status, *has_pushback = block->has_pushback;
        return true;
      }
    }
  } else {
    c->remembered[0].length = c->remembered[1].length = 0;
  }
  const uint8_t* p = bytes;
  size_t left = length;
  *http = *grpc = -1;
  for (;;) {
    nghttp2_nv field;
    int flags = 0;
    ssize_t taken = nghttp2_hd_inflate_hd2(c->inflater, &field, &flags, p, left, 1);
    if (taken < 0) return false;
    p += taken, left -= taken;
    if (flags & NGHTTP2_HD_INFLATE_EMIT) {
      if (field.namelen == 7 && memcmp(field.name, ":status", 7) == 0) *http = atoi((char*)field.value);
      if (field.namelen == 11 && memcmp(field.name, "grpc-status", 11) == 0) *grpc = atoi((char*)field.value);
      if (field.namelen == 22 && memcmp(field.name, "grpc-retry-pushback-ms", 22) == 0)
        *has_pushback = atoi((char*)field.value) > 0;
      if (field.namelen == 12 && memcmp(field.name, "grpc-message", 12) == 0)
        snprintf(message, message_room, "%.*s", (int)field.valuelen, (char*)field.value);
    }
    if (flags & NGHTTP2_HD_INFLATE_FINAL) break;
    if (left == 0 && !(flags & NGHTTP2_HD_INFLATE_EMIT)) break;
  }
  nghttp2_hd_inflate_end_headers(c->inflater);
  if (indexed) {
    c->remembered[0] = c->remembered[1];
    struct remembered_block* block = &c->remembered[1];
    memcpy(block->bytes, bytes, length);
    block->length = length, block->http_status = *http, block->grpc_status = *grpc;
    block->has_pushback = *has_pushback;
  }
  return true;
}

static uint64_t answers_due(const struct load* load) {
  if (load->grpc_status != 0) return 0;
  return load->workload.answers > 0 ? load->workload.answers : 1;
}

static bool headers_came(struct load* load, struct connection* c, uint64_t now) {
  int http, grpc;
  bool has_pushback;
  char message[256] = "";
  if (!read_block(c, c->block, c->block_bytes, &http, &grpc, &has_pushback, message, sizeof message)) {
    fprintf(stderr, "the server's header block does not decode\n");
    return false;
  }
  struct lane* lane = lane_of(c, c->block_stream);
  if (!lane) {
    fprintf(stderr, "headers on stream %u, which is not open\n", c->block_stream);
    return false;
  }
  if (!lane->head_seen) {
    lane->head_seen = true;
    lane->head_good = http == 200;
    if (http != 200) load_note(load, "stream %u: HTTP status %d", c->block_stream, http);
  }
  if (c->block_ends_stream) {
    if (load->may_refuse && grpc == 8 && has_pushback) {
      finish(load, c, lane, lane->head_good && lane->answered == 0, true, now);
      return true;
    }
    if (grpc != load->grpc_status) {
      load_note(load, "stream %u: grpc-status %d %s", c->block_stream, grpc, message);
    }
    bool whole = lane->message_bytes == 0 && lane->answered == answers_due(load);
    finish(load, c, lane, grpc == load->grpc_status && lane->head_good && whole && lane->good, false, now);
  }
  return true;
}

static void judge(struct load* load, struct connection* c, struct lane* lane, const uint8_t* bytes, size_t length) {
  lane->answered++;
  load->messages++;
  lane->good = lane->good && bytes[0] == 0 && lane->answered <= answers_due(load) &&
               load->workload.answer(load->workload.state, c->index, lane - c->lanes, bytes + 5, length - 5);
}

// Judges the whole messages at the front; returns the bytes they take.
static size_t judge_whole(struct load* load, struct connection* c, struct lane* lane, const uint8_t* bytes,
                          size_t length) {
  size_t at = 0;
  while (length - at >= 5) {
    size_t message = (size_t)read32(bytes + at + 1) + 5;
    if (length - at < message) break;
    judge(load, c, lane, bytes + at, message);
    at += message;
  }
  return at;
}

static bool data_came(struct load* load, struct connection* c, uint32_t stream, const uint8_t* bytes, size_t length) {
  struct lane* lane = lane_of(c, stream);
  if (!lane) {
    fprintf(stderr, "data on stream %u, which is not open\n", stream);
    return false;
  }
  if (lane->message_bytes == 0) {
    size_t judged = judge_whole(load, c, lane, bytes, length);
    if (judged == length) return true;
    bytes += judged, length -= judged;
  }
  if (lane->message_bytes + length > answer_bytes_max) {
    fprintf(stderr, "an answer is over %d bytes\n", answer_bytes_max);
    return false;
  }
  if (!lane->message) lane->message = malloc(answer_bytes_max);
  memcpy(lane->message + lane->message_bytes, bytes, length);
  lane->message_bytes += length;
  size_t judged = judge_whole(load, c, lane, lane->message, lane->message_bytes);
  lane->message_bytes -= judged;
  if (judged > 0) memmove(lane->message, lane->message + judged, lane->message_bytes);
  return true;
}

static void settings_came(struct connection* c, const uint8_t* bytes, size_t length) {
  for (size_t at = 0; at + 6 <= length; at += 6) {
    int id = bytes[at] << 8 | bytes[at + 1];
    uint32_t value = read32(bytes + at + 2);
    if (id == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) c->streams_max = value;
    if (id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) c->stream_window = value;
    if (id == NGHTTP2_SETTINGS_MAX_FRAME_SIZE) c->frame_bytes_max = value;
    if (id == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE && value < 4096) {
      fprintf(stderr, "the server's header table of %u bytes is too small for the fixed headers\n", value);
      exit(3);
    }
  }
  c->settings_seen = true;
  write_frame_head(room(c, frame_head_bytes), 0, type_settings, flag_ack, 0);
  c->out_bytes += frame_head_bytes;
}

static bool frame_came(struct load* load, struct connection* c, const uint8_t* head, const uint8_t* bytes,
                       size_t length, uint64_t now) {
  int type = head[3], flags = head[4];
  uint32_t stream = read32(head + 5) & 0x7fffffff;
  switch (type) {
    case type_data:
      c->received_unannounced += length;
      if (flags & flag_padded) return false;
      if (length > 0 && !data_came(load, c, stream, bytes, length)) return false;
      if (flags & flag_end_stream) {
        struct lane* lane = lane_of(c, stream);
        load_note(load, "stream %u: ended without trailers", stream);
        if (lane) finish(load, c, lane, false, false, now);
      }
      return true;
    case type_headers:
    case type_continuation:
      if (flags & (flag_padded | flag_priority) && type == type_headers) return false;
      if (type == type_headers) {
        c->block_bytes = 0, c->block_stream = stream;
        c->block_ends_stream = flags & flag_end_stream;
      }
      if (c->block_bytes + length > sizeof c->block) return false;
      memcpy(c->block + c->block_bytes, bytes, length);
      c->block_bytes += length;
      return flags & flag_end_headers ? headers_came(load, c, now) : true;
    case type_reset: {
      struct lane* lane = lane_of(c, stream);
      if (lane) {
        load_note(load, "stream %u: reset, code %u", stream, read32(bytes));
        finish(load, c, lane, false, false, now);
      }
      return true;
    }
    case type_settings:
      if (!(flags & flag_ack)) settings_came(c, bytes, length);
      return true;
    case type_ping:
      if (!(flags & flag_ack)) {
        memcpy(write_frame_head(room(c, 17), 8, type_ping, flag_ack, 0), bytes, 8);
        c->out_bytes += 17;
      }
      return true;
    case type_goaway:
      fprintf(stderr, "GOAWAY, code %u: %.*s\n", read32(bytes + 4), (int)length - 8, (const char*)bytes + 8);
      return false;
    case type_window:
      if (stream == 0) {
        c->window += read32(bytes);
        put_rest(c);
      }
      return true;
    default:
      return true;
  }
}

static bool read_frames(struct load* load, struct connection* c) {
  ssize_t count = read(c->fd, c->in + c->in_bytes, input_bytes_max - c->in_bytes);
  if (count < 0 && errno == EAGAIN) return true;
  if (count <= 0) {
    fprintf(stderr, "connection %d was closed by the server\n", c->index);
    return false;
  }
  c->in_bytes += count;
  uint64_t now = monotonic_ns();
  size_t at = 0;
  while (c->in_bytes - at >= frame_head_bytes) {
    const uint8_t* head = c->in + at;
    size_t length = (size_t)head[0] << 16 | head[1] << 8 | head[2];
    if (c->in_bytes - at < frame_head_bytes + length) break;
    if (!frame_came(load, c, head, head + frame_head_bytes, length, now)) return false;
    at += frame_head_bytes + length;
  }
  memmove(c->in, c->in + at, c->in_bytes - at);
  c->in_bytes -= at;
  if (c->received_unannounced > receive_window / 4) {
    put_window_update(c, c->received_unannounced);
    c->received_unannounced = 0;
  }
  return true;
}

// MARK: Connections

static bool flush_output(struct connection* c, int poll) {
  while (c->out_sent < c->out_bytes) {
    ssize_t count = write(c->fd, c->out + c->out_sent, c->out_bytes - c->out_sent);
    if (count < 0 && errno != EAGAIN) return false;
    if (count < 0) break;
    c->out_sent += count;
  }
  bool wants = c->out_sent < c->out_bytes;
  if (!wants) c->out_sent = c->out_bytes = 0;
  if (wants != c->wants_write) {
    c->wants_write = wants;
    struct epoll_event event = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(poll, EPOLL_CTL_MOD, c->fd, &event);
  }
  return true;
}

static struct connection* connect_one(struct load* load, int index) {
  struct connection* c = calloc(1, sizeof *c);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(load->port)};
  inet_pton(AF_INET, load->host, &address.sin_addr);
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(c->fd, (struct sockaddr*)&address, sizeof address) != 0) {
    fprintf(stderr, "connect to %s:%d: %s\n", load->host, load->port, strerror(errno));
    exit(3);
  }
  int on = 1;
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(c->fd, F_SETFL, O_NONBLOCK);
  c->index = index, c->next_stream_id = 1, c->lane_cnt = c->free_cnt = load->lanes;
  c->window = c->stream_window = 65535;
  c->streams_max = 100, c->frame_bytes_max = 16384;
  c->lanes = calloc(load->lanes, sizeof *c->lanes);
  c->free_lanes = calloc(load->lanes, sizeof *c->free_lanes);
  c->lane_of_stream = malloc(stream_slots * sizeof *c->lane_of_stream);
  for (int i = 0; i < load->lanes; i++) c->free_lanes[i] = load->lanes - 1 - i;
  memset(c->lane_of_stream, 0xff, stream_slots * sizeof *c->lane_of_stream);
  c->rest = malloc(request_bytes_max + 5);
  c->out = malloc(output_bytes_max), c->in = malloc(input_bytes_max);
  nghttp2_hd_inflate_new(&c->inflater);
  memcpy(c->out, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
  c->out_bytes = NGHTTP2_CLIENT_MAGIC_LEN;
  uint8_t* p = write_frame_head(room(c, 15), 6, type_settings, 0, 0);
  p[0] = 0, p[1] = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
  write32(p + 2, answer_bytes_max);
  c->out_bytes += frame_head_bytes + 6;
  put_window_update(c, receive_window - 65535);
  return c;
}

static bool event_came(struct load* load, struct connection* c, uint32_t events, int poll) {
  if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !read_frames(load, c)) return false;
  if (load->rate == 0) start_calls(load, c, INT_MAX);
  return flush_output(c, poll);
}

static bool is_over(struct load* load, struct connection** all) {
  if (load->done < load->started) return false;
  if (load->started >= load->calls_max) return true;
  for (int i = 0; i < load->connections; i++)
    if (!all[i]->exhausted) return false;
  return true;
}

// Starts the calls that are due, one for each connection in turn; the others were due in vain.
static bool start_due(struct load* load, struct connection** all, int poll) {
  static int next;
  uint64_t now = monotonic_ns();
  if (now >= load->deadline_ns) {
    for (int i = 0; i < load->connections; i++) all[i]->exhausted = true;
    return true;
  }
  load->due = (uint64_t)((double)(now - load->begin_ns) / 1e9 * load->rate);
  for (int idle = 0; idle < load->connections && load->started + load->unsent < load->due;) {
    uint64_t before = load->started;
    start_calls(load, all[next], 1);
    idle = load->started == before ? idle + 1 : 0;
    next = (next + 1) % load->connections;
  }
  for (int i = 0; i < load->connections; i++)
    if (all[i]->out_bytes > 0 && !all[i]->wants_write && !flush_output(all[i], poll)) return false;
  if (load->due > load->started + load->unsent) load->unsent = load->due - load->started;
  return true;
}

bool load_run(struct load* load) {
  make_headers(load);
  int poll = epoll_create1(0);
  struct connection** all = calloc(load->connections, sizeof *all);
  for (int i = 0; i < load->connections; i++) {
    all[i] = connect_one(load, i);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = all[i]};
    epoll_ctl(poll, EPOLL_CTL_ADD, all[i]->fd, &event);
    if (!flush_output(all[i], poll)) return false;
  }
  load->begin_ns = monotonic_ns();
  struct epoll_event events[64];
  while (!is_over(load, all)) {
    if (load->rate > 0 && !start_due(load, all, poll)) return false;
    // The time may have run out while nothing was on its way: no event would come.
    if (is_over(load, all)) break;
    bool is_open = load->rate > 0 && !all[0]->exhausted;
    int count = epoll_wait(poll, events, 64, is_open ? 1 : stall_milliseconds);
    if (count == 0 && !is_open) {
      fprintf(stderr, "no answer for %d s: %llu calls started, %llu done\n", stall_milliseconds / 1000,
              (unsigned long long)load->started, (unsigned long long)load->done);
      return false;
    }
    for (int i = 0; i < count; i++)
      if (!event_came(load, events[i].data.ptr, events[i].events, poll)) return false;
  }
  load->end_ns = monotonic_ns();
  for (int i = 0; i < load->connections; i++) close(all[i]->fd);
  return true;
}
