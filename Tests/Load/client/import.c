// A history to Ingest.Collect.
#include <stdlib.h>

#include "wire.h"
#include "workloads.h"

extern uint64_t checksum_of_answers;

enum { room_bytes = 64, context_bytes_max = 1024, event_bytes_max = 512 };

struct import {
  const char* app;
  struct history* history;
  uint64_t next_open;
  // How many events of each lane's call are to be accepted.
  uint16_t* expected;
};

static size_t encode_context(const struct history_open* open, uint8_t* out) {
  char room[room_bytes];
  uint8_t* p = put_text(out, 1, history_user(open->user, room));
  p = put_text(p, 2, "CN");
  p = put_text(p, 3, history_province(open->province));
  p = put_text(p, 4, history_city(open->city, room));
  if (history_gender(open->gender)) p = put_text(p, 5, history_gender(open->gender));
  p = put_text(p, 6, "phone");
  p = put_text(p, 7, history_network(open->network));
  p = put_number(p, 8, history_width(open->model));
  p = put_number(p, 9, history_height(open->model));
  p = put_text(p, 10, history_os(open->model));
  p = put_text(p, 11, history_os_version(open->model, room));
  p = put_text(p, 12, "zh_CN");
  p = put_text(p, 13, history_brand(open->model));
  p = put_text(p, 14, history_model(open->model, room));
  p = put_text(p, 15, history_brand(open->model));
  p = put_number(p, 16, history_scene(open->scene));
  p = put_text(p, 17, "wechat");
  p = put_text(p, 18, history_app_version(open->time, room));
  p = put_text(p, 19, history_host(open->host));
  p = put_text(p, 20, "1.0.0");
  return p - out;
}

static size_t encode_event(const struct history_event* event, uint8_t* out) {
  char room[room_bytes];
  uint8_t* p = put_text(out, 1, history_event_name(event->event));
  p = put_number(p, 2, history_begin_ms() + event->time);
  p = put_text(p, 3, history_page_path(event->page, room));
  p = put_number(p, 4, event->sequence);
  if (event->text && event->event == history_page_view) p = put_text_field(p, "query", history_query(event->text, room));
  if (event->text && event->event == history_search) p = put_text_field(p, "keyword", history_keyword(event->text, room));
  if (event->product) p = put_text_field(p, "product_id", history_product(event->product, room));
  if (event->amount) p = put_integer_field(p, "amount", event->amount);
  return p - out;
}

static size_t import_request(void* state, int connection, int lane, uint8_t* out) {
  struct import* import = state;
  struct history* history = import->history;
  if (import->next_open == history->open_cnt) return 0;
  const struct history_open* open = &history->opens[import->next_open++];
  uint8_t scratch[context_bytes_max];
  char room[room_bytes];
  uint8_t* p = put_text(out, 1, import->app);
  p = put_bytes(p, 2, scratch, encode_context(open, scratch));
  const struct history_event* events = history->events + open->first_event;
  for (int i = 0; i < open->event_cnt; i++) p = put_bytes(p, 3, scratch, encode_event(&events[i], scratch));
  p = put_number(p, 4, history_begin_ms() + events[open->event_cnt - 1].time);
  p = put_text(p, 5, history_user(open->user, room));
  p = put_number(p, 6, 1);
  import->expected[connection * lanes_max + lane] = open->event_cnt;
  return p - out;
}

static bool import_answer(void* state, int connection, int lane, const uint8_t* message, size_t length) {
  struct import* import = state;
  // Nothing but `accepted` (1): anything else tells of an event that was not taken.
  if (length < 2 || message[0] != 1 << 3) return false;
  uint64_t accepted = 0;
  size_t at = 1;
  for (int shift = 0; at < length && shift < 64; shift += 7) {
    accepted |= (uint64_t)(message[at] & 0x7f) << shift;
    if (!(message[at++] & 0x80)) break;
  }
  checksum_of_answers += accepted;
  return at == length && accepted == import->expected[connection * lanes_max + lane];
}

struct history* history_workload(struct load* load, const char* app, struct history_options options) {
  struct import* import = calloc(1, sizeof *import);
  import->app = app;
  import->history = history_make(options);
  import->expected = calloc((size_t)load->connections * lanes_max, sizeof *import->expected);
  load->request_bytes = context_bytes_max + history_open_events_max * 256;
  load->workload = (struct workload){.request = import_request, .answer = import_answer, .state = import};
  return import->history;
}
