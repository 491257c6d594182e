// One prepared multi-row INSERT per batch on each connection. The table has a column of the right type for each default
// and custom field, and a key on the event's identity, so that an event which comes twice is kept once.
#include <libpq-fe.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stores.h"

enum { columns = 25, text_bytes = 48 };

static const char table[] =
  "CREATE TABLE IF NOT EXISTS event("
  "app_id text NOT NULL, device_id text NOT NULL, sequence bigint NOT NULL, name text NOT NULL, "
  "time_ms bigint NOT NULL, open_id text NOT NULL, page_path text, country text, province text, city text, "
  "gender text, device text, network_type text, device_width int, device_height int, os_name text, os_version text, "
  "language text, manufacturer text, device_model text, device_brand text, "
  "product_id text, price double precision, quantity_or_stay bigint, is_member boolean, "
  "PRIMARY KEY(app_id, device_id, sequence))";

struct client {
  PGconn* connection;
  uint64_t started_ns;
  bool is_busy;
};

// Values of one batch; numbers are written to `numbers`, texts are pointed at.
struct values {
  const char* pointers[batch_events_max * columns];
  char numbers[batch_events_max * columns][text_bytes];
};

__attribute__((format(printf, 3, 4))) static const char* number(struct values* values, int at, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(values->numbers[at], text_bytes, format, arguments);
  va_end(arguments);
  return values->numbers[at];
}

static void fill(const struct batch* batch, struct values* values) {
  int at = 0;
  for (int i = 0; i < batch->event_cnt; i++) {
    const struct event_values* event = &batch->events[i];
    const struct context_values* context = &batch->context;
    const char** p = values->pointers;
    p[at] = "load", at++;
    p[at] = batch->device->device_id, at++;
    p[at] = number(values, at, "%llu", (unsigned long long)event->sequence), at++;
    p[at] = event->name, at++;
    p[at] = number(values, at, "%llu", (unsigned long long)event->time_ms), at++;
    p[at] = batch->device->open_id, at++;
    p[at] = event->page_path, at++;
    for (int text = 0; text < 6; text++) p[at] = context->texts[text], at++;
    p[at] = number(values, at, "%d", context->device_width), at++;
    p[at] = number(values, at, "%d", context->device_height), at++;
    for (int text = 6; text < context_texts; text++) p[at] = context->texts[text], at++;
    p[at] = event->product_id, at++;
    p[at] = number(values, at, "%.17g", event->price), at++;
    p[at] = number(values, at, "%llu", (unsigned long long)event->number), at++;
    p[at] = event->is_member ? "t" : "f", at++;
  }
}

static void expect(PGresult* result, ExecStatusType status, PGconn* connection) {
  if (PQresultStatus(result) != status) die("postgres: %s", PQerrorMessage(connection));
  PQclear(result);
}

static void prepare(PGconn* connection, int batch_events) {
  char* sql = malloc(64 + (size_t)batch_events * columns * 8);
  char* p = sql + sprintf(sql, "INSERT INTO event VALUES ");
  for (int row = 0; row < batch_events; row++) {
    p += sprintf(p, row ? ",(" : "(");
    for (int column = 0; column < columns; column++)
      p += sprintf(p, column ? ",$%d" : "$%d", row * columns + column + 1);
    p += sprintf(p, ")");
  }
  sprintf(p, " ON CONFLICT DO NOTHING");
  expect(PQprepare(connection, "insert", sql, 0, NULL), PGRES_COMMAND_OK, connection);
  free(sql);
}

static bool send_next(struct stores* stores, struct client* client, int slot) {
  static struct batch batch;
  static struct values values;
  if (!event_source_next(stores->source, slot, &batch)) return false;
  fill(&batch, &values);
  begin_batch(stores, &client->started_ns);
  if (!PQsendQueryPrepared(client->connection, "insert", batch.event_cnt * columns, values.pointers, NULL, NULL, 0))
    die("postgres: %s", PQerrorMessage(client->connection));
  while (PQflush(client->connection) > 0) {
    struct pollfd poll_fd = {.fd = PQsocket(client->connection), .events = POLLOUT};
    poll(&poll_fd, 1, -1);
  }
  return true;
}

// Whether the answer is whole.
static bool receive(struct stores* stores, struct client* client) {
  if (!PQconsumeInput(client->connection)) die("postgres: %s", PQerrorMessage(client->connection));
  if (PQisBusy(client->connection)) return false;
  PGresult* result;
  while ((result = PQgetResult(client->connection))) {
    if (PQresultStatus(result) != PGRES_COMMAND_OK) die("postgres: %s", PQerrorMessage(client->connection));
    if (atoi(PQcmdTuples(result)) != stores->events.batch_events)
      die("postgres: %s of %d rows were inserted", PQcmdTuples(result), stores->events.batch_events);
    PQclear(result);
  }
  end_batch(stores, client->started_ns);
  return true;
}

void send_to_postgres(struct stores* stores) {
  static struct client clients[clients_max];
  struct pollfd polls[clients_max];
  for (int i = 0; i < stores->clients; i++) {
    PGconn* connection = clients[i].connection = PQconnectdb(stores->target);
    if (PQstatus(connection) != CONNECTION_OK) die("postgres: %s", PQerrorMessage(connection));
    if (i == 0) expect(PQexec(connection, table), PGRES_COMMAND_OK, connection);
    prepare(connection, stores->events.batch_events);
    PQsetnonblocking(connection, 1);
    polls[i] = (struct pollfd){.fd = PQsocket(connection), .events = POLLIN};
  }
  stores->begin_ns = now_ns();
  for (int i = 0; i < stores->clients; i++) clients[i].is_busy = send_next(stores, &clients[i], i);
  while (stores->done < stores->started) {
    if (poll(polls, stores->clients, 60000) <= 0) die("postgres: no answer for 60 s");
    for (int i = 0; i < stores->clients; i++) {
      if (!clients[i].is_busy || !polls[i].revents || !receive(stores, &clients[i])) continue;
      clients[i].is_busy = send_next(stores, &clients[i], i);
    }
  }
  stores->end_ns = now_ns();
  for (int i = 0; i < stores->clients; i++) PQfinish(clients[i].connection);
}
