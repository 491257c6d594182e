// A mini program's months: a deterministic history of opens whose events are known in numbers, before anybody encodes them.
//
// The same seed, users, days and bound give the same history, whoever makes it: the load client, which sends it to ingest,
// and `history-rows`, which writes it as rows for the stores that query is compared with.
#ifndef FOOTFALL_LOAD_HISTORY_H
#define FOOTFALL_LOAD_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

enum {
  history_events = 30,
  history_pages = 200,
  history_scenes = 19,
  history_provinces = 30,
  history_cities = 300,
  history_models = 100,
  history_networks = 4,
  history_hosts = 6,
  history_texts = 20000,
  history_day_ms = 86400000,
  history_open_events_max = 512,
};

// Codes of events that mean something to the generator; the names of all stand in `history_event_name`.
enum { history_page_view = 0, history_launch = 1, history_search = 3, history_cart = 4, history_order = 6, history_purchase = 10 };

struct history_options {
  uint32_t users;
  int days;
  // 0: as many as come out, about 21.6 for each user. Else the opens end before the one that would pass it.
  uint64_t events_max;
};

struct history_event {
  // ms since the first local midnight.
  uint64_t time;
  // In cents; 0: none.
  uint32_t amount;
  // Of a page view the number of its query, of a search that of its keyword; 0: none.
  uint16_t text;
  // 0: none.
  uint16_t product;
  uint8_t page, event;
  // From 1 on, of the user's device.
  uint16_t sequence;
};

// What stays the same during an open.
struct history_open {
  uint64_t first_event;
  uint64_t time;
  uint32_t user;
  uint16_t event_cnt, city;
  uint8_t scene, province, gender, model, network, host;
};

struct history {
  struct history_options options;
  struct history_event* events;
  uint64_t event_cnt;
  // In the order in which they begin.
  struct history_open* opens;
  uint64_t open_cnt;
};

struct history* history_make(struct history_options options);

// ms since 1970 of the first local midnight: 2026-06-01 in Asia/Shanghai.
uint64_t history_begin_ms(void);

// Names of codes; those that need it write into `room`, of 64 bytes.
const char* history_event_name(int event);
const char* history_page_path(int page, char* room);
int history_scene(int scene);
const char* history_province(int province);
const char* history_city(int city, char* room);
// NULL: not known.
const char* history_gender(int gender);
const char* history_brand(int model);
const char* history_model(int model, char* room);
const char* history_os(int model);
const char* history_os_version(int model, char* room);
int history_width(int model);
int history_height(int model);
const char* history_network(int network);
const char* history_host(int host);
// A release a week.
const char* history_app_version(uint64_t time, char* room);
const char* history_query(int text, char* room);
const char* history_keyword(int text, char* room);
const char* history_product(int product, char* room);
const char* history_user(uint32_t user, char* room);

#endif
