// NATS's own protocol by hand: each client publishes one batch as one message, with the id by which JetStream
// deduplicates, and waits for the stream's acknowledgement.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "request.h"
#include "stores.h"

enum { input_bytes_max = 64 << 10, output_bytes_max = 256 << 10 };

struct client {
  int fd;
  uint64_t started_ns;
  bool is_busy;
  size_t in_bytes;
  char in[input_bytes_max];
};

static void write_all(int fd, const void* bytes, size_t length) {
  for (size_t at = 0; at < length;) {
    ssize_t written = write(fd, (const char*)bytes + at, length - at);
    if (written < 0 && errno != EINTR) die("jetstream: write: %s", strerror(errno));
    if (written > 0) at += written;
  }
}

// Reads until the payload of a message to the client's inbox is there; NULL: not yet. `-ERR` ends the process.
static char* message(struct client* client, bool may_wait) {
  static char payload[input_bytes_max];
  for (;;) {
    char* end;
    while ((end = memmem(client->in, client->in_bytes, "\r\n", 2))) {
      size_t line = end - client->in + 2, taken = line;
      bool is_message = strncmp(client->in, "MSG ", 4) == 0;
      if (strncmp(client->in, "-ERR", 4) == 0) die("jetstream: %.*s", (int)line, client->in);
      if (strncmp(client->in, "PING", 4) == 0) write_all(client->fd, "PONG\r\n", 6);
      if (is_message) {
        *end = 0;
        size_t length = strtoul(strrchr(client->in, ' ') + 1, NULL, 10);
        *end = '\r';
        taken += length + 2;
        if (taken > input_bytes_max) die("jetstream: an answer of %zu bytes", length);
        if (taken > client->in_bytes) break;
        memcpy(payload, client->in + line, length);
        payload[length] = 0;
      }
      client->in_bytes -= taken;
      memmove(client->in, client->in + taken, client->in_bytes);
      if (is_message) return payload;
    }
    ssize_t got = recv(client->fd, client->in + client->in_bytes, input_bytes_max - client->in_bytes,
                       may_wait ? 0 : MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return NULL;
    if (got <= 0) die("jetstream: the connection ended");
    client->in_bytes += got;
  }
}

static void connect_one(struct stores* stores, struct client* client, int index) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(stores->target)),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  client->fd = socket(AF_INET, SOCK_STREAM, 0);
  int on = 1;
  setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (connect(client->fd, (struct sockaddr*)&address, sizeof address) != 0)
    die("jetstream: connect: %s", strerror(errno));
  char hello[256];
  int length = snprintf(hello, sizeof hello, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n"
                        "SUB inbox.%d 1\r\n", index);
  write_all(client->fd, hello, length);
}

static void make_stream(struct client* client) {
  static const char config[] =
    "{\"name\":\"EVENTS\",\"subjects\":[\"events\"],\"storage\":\"file\",\"num_replicas\":1,"
    "\"retention\":\"limits\",\"duplicate_window\":120000000000}";
  char request[1024];
  int length = snprintf(request, sizeof request, "PUB $JS.API.STREAM.CREATE.EVENTS inbox.0 %zu\r\n%s\r\n",
                        sizeof config - 1, config);
  write_all(client->fd, request, length);
  char* answer = message(client, true);
  if (!answer || strstr(answer, "\"error\"")) die("jetstream: no stream: %s", answer ? answer : "");
}

static bool send_next(struct stores* stores, struct client* client, int slot) {
  static struct batch batch;
  static uint8_t out[output_bytes_max], body[output_bytes_max];
  if (!event_source_next(stores->source, slot, &batch)) return false;
  size_t body_bytes = encode_request(&batch, &stores->events, "load", body);
  char head[256], id[128];
  int id_bytes = snprintf(id, sizeof id, "NATS/1.0\r\nNats-Msg-Id: %s-%llu\r\n\r\n", batch.device->device_id,
                          (unsigned long long)batch.events[0].sequence);
  int head_bytes = snprintf(head, sizeof head, "HPUB events inbox.%d %d %zu\r\n", slot, id_bytes,
                            id_bytes + body_bytes);
  uint8_t* p = out;
  p = (uint8_t*)memcpy(p, head, head_bytes) + head_bytes;
  p = (uint8_t*)memcpy(p, id, id_bytes) + id_bytes;
  p = (uint8_t*)memcpy(p, body, body_bytes) + body_bytes;
  p = (uint8_t*)memcpy(p, "\r\n", 2) + 2;
  begin_batch(stores, &client->started_ns);
  write_all(client->fd, out, p - out);
  return true;
}

void send_to_jetstream(struct stores* stores) {
  static struct client clients[clients_max];
  struct pollfd polls[clients_max];
  if (request_bytes(&stores->events) > output_bytes_max - 1024) die("jetstream: batches are too large");
  for (int i = 0; i < stores->clients; i++) {
    connect_one(stores, &clients[i], i);
    if (i == 0) make_stream(&clients[0]);
    polls[i] = (struct pollfd){.fd = clients[i].fd, .events = POLLIN};
  }
  stores->begin_ns = now_ns();
  for (int i = 0; i < stores->clients; i++) clients[i].is_busy = send_next(stores, &clients[i], i);
  while (stores->done < stores->started) {
    if (poll(polls, stores->clients, 60000) <= 0) die("jetstream: no answer for 60 s");
    for (int i = 0; i < stores->clients; i++) {
      if (!polls[i].revents) continue;
      char* answer = message(&clients[i], false);
      if (!answer) continue;
      if (!strstr(answer, "\"seq\":") || strstr(answer, "duplicate")) die("jetstream: %s", answer);
      end_batch(stores, clients[i].started_ns);
      clients[i].is_busy = send_next(stores, &clients[i], i);
    }
  }
  stores->end_ns = now_ns();
  for (int i = 0; i < stores->clients; i++) close(clients[i].fd);
}
