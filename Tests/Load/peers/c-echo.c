// The bound of the RPC load test: unary echo in C on epoll and nghttp2, what our own server stands on. It has all that
// makes such a server fast (memory in free lists, static fields, one read and one write per wake-up) and nothing of what
// a server needs beyond: no routing, limits, deadlines, metrics, and it takes back no window but nghttp2's own.
// Usage: c-echo PORT
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

enum { read_bytes_max = 256 << 10, body_bytes_first = 1024, body_bytes_kept_max = 16 << 10, body_bytes_max = 4 << 20 };
enum { events_max = 64, output_bytes_first = 128 << 10 };

// MARK: Memory

// Free lists by size, in steps of 32 bytes; the byte count in front of each block says its list.
enum { class_bytes = 32, class_cnt = 32, block_head_bytes = 16 };
static void* free_blocks[class_cnt];

static void* take_block(size_t size, void* unused) {
  (void)unused;
  size_t class = (size + class_bytes - 1) / class_bytes;
  if (class < class_cnt && free_blocks[class]) {
    void* block = free_blocks[class];
    free_blocks[class] = *(void**)block;
    return block;
  }
  if (class == 0) class = 1;
  size_t bytes = class < class_cnt ? class * class_bytes : size;
  char* raw = malloc(bytes + block_head_bytes);
  if (!raw) return NULL;
  *(size_t*)raw = bytes;
  return raw + block_head_bytes;
}

static void give_block(void* block, void* unused) {
  (void)unused;
  if (!block) return;
  char* raw = (char*)block - block_head_bytes;
  size_t bytes = *(size_t*)raw;
  if (bytes >= class_cnt * class_bytes) {
    free(raw);
    return;
  }
  *(void**)block = free_blocks[bytes / class_bytes];
  free_blocks[bytes / class_bytes] = block;
}

static void* take_zeroed(size_t count, size_t size, void* unused) {
  void* block = take_block(count * size, unused);
  return block ? memset(block, 0, count * size) : NULL;
}

static void* resize_block(void* block, size_t size, void* unused) {
  if (!block) return take_block(size, unused);
  size_t old = *(size_t*)((char*)block - block_head_bytes);
  if (size <= old) return block;
  void* fresh = take_block(size, unused);
  if (!fresh) return NULL;
  memcpy(fresh, block, old);
  give_block(block, unused);
  return fresh;
}

static nghttp2_mem memory = {NULL, take_block, give_block, take_zeroed, resize_block};

// MARK: Streams

struct stream {
  struct stream* next_free;
  size_t length, sent, room;
  uint8_t* body;
};

static struct stream* free_streams;

static struct stream* take_stream(void) {
  struct stream* stream = free_streams;
  if (stream) {
    free_streams = stream->next_free;
  } else {
    stream = malloc(sizeof *stream);
    stream->body = malloc(body_bytes_first);
    stream->room = body_bytes_first;
  }
  stream->length = stream->sent = 0;
  return stream;
}

static void give_stream(struct stream* stream) {
  if (stream->room > body_bytes_kept_max) {
    free(stream->body);
    stream->body = malloc(body_bytes_first);
    stream->room = body_bytes_first;
  }
  stream->next_free = free_streams;
  free_streams = stream;
}

#define FIELD(name, value) \
  {(uint8_t*)name, (uint8_t*)value, sizeof name - 1, sizeof value - 1, \
   NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE}
static nghttp2_nv head[] = {FIELD(":status", "200"), FIELD("content-type", "application/grpc")};
static nghttp2_nv trailer[] = {FIELD("grpc-status", "0")};

// MARK: Callbacks

static int headers_begin(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  (void)user;
  if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
    nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, take_stream());
  return 0;
}

static int data_came(nghttp2_session* session, uint8_t flags, int32_t id, const uint8_t* bytes, size_t count,
                     void* user) {
  (void)flags, (void)user;
  struct stream* stream = nghttp2_session_get_stream_user_data(session, id);
  if (!stream) return 0;
  if (stream->length + count > body_bytes_max) return NGHTTP2_ERR_CALLBACK_FAILURE;
  if (stream->length + count > stream->room) {
    while (stream->room < stream->length + count) stream->room *= 2;
    stream->body = realloc(stream->body, stream->room);
  }
  memcpy(stream->body + stream->length, bytes, count);
  stream->length += count;
  return 0;
}

static ssize_t read_body(nghttp2_session* session, int32_t id, uint8_t* out, size_t room, uint32_t* flags,
                         nghttp2_data_source* source, void* user) {
  (void)user;
  struct stream* stream = source->ptr;
  size_t count = stream->length - stream->sent;
  if (count > room) count = room;
  memcpy(out, stream->body + stream->sent, count);
  stream->sent += count;
  if (stream->sent == stream->length) {
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(session, id, trailer, 1);
  }
  return count;
}

static int frame_came(nghttp2_session* session, const nghttp2_frame* frame, void* user) {
  (void)user;
  if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) return 0;
  if (!(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  struct stream* stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!stream) return 0;
  nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = read_body};
  return nghttp2_submit_response(session, frame->hd.stream_id, head, 2, &provider);
}

static int stream_closed(nghttp2_session* session, int32_t id, uint32_t code, void* user) {
  (void)code, (void)user;
  struct stream* stream = nghttp2_session_get_stream_user_data(session, id);
  if (stream) give_stream(stream);
  return 0;
}

// MARK: Connections

struct connection {
  int fd;
  int wants_write;
  nghttp2_session* session;
  uint8_t* out;
  size_t out_bytes, out_sent, out_room;
};

static nghttp2_session_callbacks* callbacks;
static nghttp2_option* option;
static int poll_fd;

static void watch(struct connection* c, int operation, int wants_write) {
  c->wants_write = wants_write;
  struct epoll_event event = {.events = EPOLLIN | (wants_write ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(poll_fd, operation, c->fd, &event);
}

static void gather(struct connection* c) {
  const uint8_t* bytes;
  ssize_t count;
  while ((count = nghttp2_session_mem_send(c->session, &bytes)) > 0) {
    if (c->out_bytes + count > c->out_room) {
      while (c->out_room < c->out_bytes + count) c->out_room *= 2;
      c->out = realloc(c->out, c->out_room);
    }
    memcpy(c->out + c->out_bytes, bytes, count);
    c->out_bytes += count;
  }
}

// 0: the connection goes on.
static int flush(struct connection* c) {
  if (c->out_sent == c->out_bytes) {
    c->out_sent = c->out_bytes = 0;
    gather(c);
  }
  while (c->out_sent < c->out_bytes) {
    ssize_t count = write(c->fd, c->out + c->out_sent, c->out_bytes - c->out_sent);
    if (count < 0 && errno == EAGAIN) {
      if (!c->wants_write) watch(c, EPOLL_CTL_MOD, 1);
      return 0;
    }
    if (count < 0) return -1;
    c->out_sent += count;
  }
  if (c->wants_write) watch(c, EPOLL_CTL_MOD, 0);
  return nghttp2_session_want_read(c->session) || nghttp2_session_want_write(c->session) ? 0 : -1;
}

static int take_input(struct connection* c) {
  static uint8_t in[read_bytes_max];
  ssize_t count = read(c->fd, in, sizeof in);
  if (count < 0) return errno == EAGAIN ? 0 : -1;
  if (count == 0) return -1;
  return nghttp2_session_mem_recv(c->session, in, count) < 0 ? -1 : 0;
}

static void end(struct connection* c) {
  close(c->fd);
  nghttp2_session_del(c->session);
  free(c->out);
  free(c);
}

static void accept_one(int listener) {
  int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
  if (fd < 0) return;
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  struct connection* c = calloc(1, sizeof *c);
  c->fd = fd;
  c->out_room = output_bytes_first;
  c->out = malloc(c->out_room);
  nghttp2_session_server_new3(&c->session, callbacks, c, option, &memory);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1024},
                                       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
  nghttp2_submit_settings(c->session, 0, settings, 2);
  nghttp2_session_set_local_window_size(c->session, 0, 0, 16 << 20);
  watch(c, EPOLL_CTL_ADD, 0);
  if (flush(c) < 0) end(c);
}

static void prepare(void) {
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, headers_begin);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, data_came);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, frame_came);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, stream_closed);
  nghttp2_option_new(&option);
  nghttp2_option_set_no_closed_streams(option, 1);
}

static int listen_on(int port) {
  int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  struct sockaddr_in address = {
    .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 1024) != 0) {
    perror("c-echo: cannot listen");
    exit(1);
  }
  return listener;
}

int main(int count, char** arguments) {
  signal(SIGPIPE, SIG_IGN);
  prepare();
  poll_fd = epoll_create1(0);
  int listener = listen_on(count > 1 ? atoi(arguments[1]) : 0);
  struct epoll_event listening = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &listening);
  struct epoll_event events[events_max];
  for (;;) {
    int ready = epoll_wait(poll_fd, events, events_max, -1);
    for (int i = 0; i < ready; i++) {
      struct connection* c = events[i].data.ptr;
      if (!c) {
        accept_one(listener);
      } else if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR) && take_input(c) < 0) || flush(c) < 0) {
        end(c);
      }
    }
  }
}
