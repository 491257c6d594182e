#include "history.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// MARK: Chance

static uint64_t state[4];

static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

// xoshiro256**.
static uint64_t next_random(void) {
  uint64_t result = rotate(state[1] * 5, 7) * 9, t = state[1] << 17;
  state[2] ^= state[0], state[3] ^= state[1], state[1] ^= state[2], state[0] ^= state[3];
  state[2] ^= t;
  state[3] = rotate(state[3], 45);
  return result;
}

// [0, 1).
static double uniform(void) { return (double)(next_random() >> 11) * (1.0 / 9007199254740992.0); }

static double exponential(double mean) { return -log(1 - uniform()) * mean; }

struct zipf {
  int count;
  double* shares;
};

static struct zipf zipf_make(int count, double exponent) {
  struct zipf zipf = {count, malloc(count * sizeof(double))};
  double total = 0;
  for (int i = 0; i < count; i++) zipf.shares[i] = total += 1 / pow(i + 1, exponent);
  for (int i = 0; i < count; i++) zipf.shares[i] /= total;
  return zipf;
}

static int zipf_draw(const struct zipf* zipf) {
  double share = uniform();
  int low = 0, high = zipf->count - 1;
  while (low < high) {
    int middle = (low + high) / 2;
    if (zipf->shares[middle] < share) low = middle + 1;
    else high = middle;
  }
  return low;
}

// MARK: The history

enum { opens_of_user_max = 300, stages = 9, timeout_ms = 1800000 };

struct chances {
  struct zipf scene, province, city, model, page, product, action, text;
  double hours[24];
};

static struct chances chances_make(void) {
  static const double weights[24] = {2, 1, .6, .5, .5, .8, 1.5, 3, 4, 4.5, 5, 5.5,
                                     6.5, 5.5, 5, 5, 5, 5.5, 6, 7, 8, 8, 6, 4};
  struct chances chances = {
    zipf_make(history_scenes, .9), zipf_make(history_provinces, .6), zipf_make(10, .8), zipf_make(history_models, .9),
    zipf_make(history_pages, .9), zipf_make(5000, .8), zipf_make(history_events - 3, .7), zipf_make(history_texts, .7), {0}};
  double total = 0;
  for (int i = 0; i < 24; i++) chances.hours[i] = total += weights[i];
  for (int i = 0; i < 24; i++) chances.hours[i] /= total;
  return chances;
}

static int compare_doubles(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static int compare_times(const void* a, const void* b) {
  uint64_t x = *(const uint64_t*)a, y = *(const uint64_t*)b;
  return (x > y) - (x < y);
}

static int compare_opens(const void* a, const void* b) {
  const struct history_open *x = a, *y = b;
  if (x->time != y->time) return x->time > y->time ? 1 : -1;
  return (x->user > y->user) - (x->user < y->user);
}

// When a user opens the program: most once, few very often, seldom in the night.
static int draw_times(const struct chances* chances, int first_day, int days, uint64_t* times) {
  int count = (int)pow(1 - uniform(), -1 / 1.42);
  if (count > opens_of_user_max || count < 0) count = opens_of_user_max;
  for (int i = 0; i < count; i++) {
    int day = first_day;
    if (i > 0) {
      double x = uniform();
      day += (int)((days - first_day) * x * sqrt(x));
      if (day >= days) day = days - 1;
    }
    double share = uniform();
    int hour = 0;
    while (chances->hours[hour] < share) hour++;
    times[i] = (uint64_t)day * history_day_ms + hour * 3600000ull + (uint64_t)(uniform() * 3600000);
  }
  qsort(times, count, sizeof *times, compare_times);
  return count;
}

struct writer {
  struct history* history;
  uint64_t event_cap, open_cap, end;
  // Of the user: where the next event may be, how far the way to a purchase has been gone, its events so far.
  uint64_t time;
  int stage, sequence;
};

static bool write_event(struct writer* writer, struct history_open* open, int event, int page, uint32_t amount, int product,
                        int text) {
  struct history* history = writer->history;
  if (writer->time >= writer->end || open->event_cnt == history_open_events_max) return false;
  if (history->event_cnt == writer->event_cap)
    history->events = realloc(history->events, (writer->event_cap *= 2) * sizeof *history->events);
  history->events[history->event_cnt++] = (struct history_event){
    .time = writer->time, .amount = amount, .text = text, .product = product, .page = page, .event = event,
    .sequence = ++writer->sequence};
  open->event_cnt++;
  return true;
}

// An event beside page views: every second one goes on towards a purchase.
static bool write_action(struct writer* writer, const struct chances* chances, struct history_open* open, int page) {
  static const uint8_t way[stages] = {2, 3, 4, 5, 6, 7, 8, 9, 10};
  int event = uniform() < .42 && writer->stage < stages ? way[writer->stage++] : 3 + zipf_draw(&chances->action);
  uint32_t amount = 0;
  int product = 0, text = 0;
  if (event == history_cart || event == history_order || event == history_purchase) {
    product = 1 + zipf_draw(&chances->product);
    if (event != history_cart) amount = 100 + (uint32_t)exponential(8000);
  }
  if (event == history_search) text = 1 + zipf_draw(&chances->text);
  if (!write_event(writer, open, event, page, amount, product, text)) return false;
  writer->time += 100 + (uint64_t)exponential(7000);
  return true;
}

static void write_open(struct writer* writer, const struct chances* chances, struct history_open* open) {
  int views = 1 + (int)(log(1 - uniform()) / log(1 - 1 / 4.6));
  if (views > 80) views = 80;
  if (writer->stage >= stages) writer->stage = 0;
  if (uniform() < .4) writer->stage = 0;
  int page = uniform() < .5 ? 0 : zipf_draw(&chances->page);
  if (!write_event(writer, open, history_launch, page, 0, 0, 0)) return;
  writer->time += 1 + (uint64_t)(uniform() * 400);
  for (int view = 0; view < views; view++) {
    int text = uniform() < .2 ? 1 + zipf_draw(&chances->text) : 0;
    if (!write_event(writer, open, history_page_view, page, 0, 0, text)) return;
    writer->time += 300 + (uint64_t)exponential(9000);
    double share = uniform();
    for (int left = share < .36 ? 1 : share < .42 ? 2 : 0; left > 0; left--)
      if (!write_action(writer, chances, open, page)) return;
    page = uniform() < .3 ? (page * 7 + 3) % history_pages : zipf_draw(&chances->page);
  }
}

static void write_user(struct writer* writer, const struct chances* chances, uint32_t user, int first_day) {
  struct history* history = writer->history;
  uint64_t times[opens_of_user_max];
  int count = draw_times(chances, first_day, history->options.days, times);
  struct history_open always = {.user = user, .province = zipf_draw(&chances->province)};
  always.city = always.province * 10 + zipf_draw(&chances->city);
  always.gender = uniform() < .1 ? 0 : uniform() < .55 ? 1 : 2;
  always.model = zipf_draw(&chances->model);
  always.host = user % history_hosts;
  writer->time = 0, writer->stage = 0, writer->sequence = 0;
  for (int i = 0; i < count; i++) {
    // Opens lie further apart than the time-out.
    if (i > 0 && times[i] <= writer->time + timeout_ms)
      times[i] = writer->time + timeout_ms + 1 + (uint64_t)(uniform() * 600000);
    if (times[i] >= writer->end) break;
    writer->time = times[i];
    struct history_open open = always;
    open.time = writer->time;
    open.first_event = history->event_cnt;
    open.scene = zipf_draw(&chances->scene);
    open.network = uniform() < .6 ? 0 : 1 + (int)(uniform() * (history_networks - 1));
    if (uniform() < .05) {
      open.province = zipf_draw(&chances->province);
      open.city = open.province * 10 + zipf_draw(&chances->city);
    }
    if (uniform() < .02) open.model = zipf_draw(&chances->model);
    write_open(writer, chances, &open);
    // The history ended before the first page came: there was no open.
    if (open.event_cnt < 2) {
      history->event_cnt = open.first_event;
      break;
    }
    if (history->open_cnt == writer->open_cap)
      history->opens = realloc(history->opens, (writer->open_cap *= 2) * sizeof *history->opens);
    history->opens[history->open_cnt++] = open;
  }
}

static void cut(struct history* history) {
  uint64_t kept = 0, opens = 0;
  while (opens < history->open_cnt && kept + history->opens[opens].event_cnt <= history->options.events_max)
    kept += history->opens[opens++].event_cnt;
  history->open_cnt = opens;
  history->event_cnt = kept;
}

struct history* history_make(struct history_options options) {
  struct history* history = calloc(1, sizeof *history);
  history->options = options;
  for (int i = 0; i < 4; i++) state[i] = i + 1;
  for (int i = 0; i < 100; i++) next_random();
  struct chances chances = chances_make();
  double* first_days = malloc(options.users * sizeof(double));
  for (uint32_t i = 0; i < options.users; i++) first_days[i] = options.days * pow(uniform(), 1.3);
  // Users are numbered in the order in which they come first.
  qsort(first_days, options.users, sizeof(double), compare_doubles);
  struct writer writer = {
    .history = history, .event_cap = options.users * 22ull + 4096, .open_cap = options.users * 3ull + 64,
    .end = (uint64_t)options.days * history_day_ms};
  history->events = malloc(writer.event_cap * sizeof *history->events);
  history->opens = malloc(writer.open_cap * sizeof *history->opens);
  for (uint32_t user = 0; user < options.users; user++) write_user(&writer, &chances, user, (int)first_days[user]);
  free(first_days);
  qsort(history->opens, history->open_cnt, sizeof *history->opens, compare_opens);
  if (options.events_max > 0) cut(history);
  return history;
}

// MARK: Names

uint64_t history_begin_ms(void) { return 1780243200000ull; }

const char* history_event_name(int event) {
  static const char* const names[history_events] = {
    "$page_view", "$launch", "view_category", "search", "add_to_cart", "view_cart", "create_order", "choose_address",
    "choose_coupon", "start_payment", "purchase", "$share", "$click", "$pull_down_refresh", "$switch_tab", "favorite",
    "view_comments", "take_coupon", "play_video", "end_video", "click_banner", "enter_live", "follow_shop", "open_chat",
    "log_in", "register", "choose_sku", "zoom_image", "submit_form", "rate_order"};
  return names[event];
}

// Paths sort like their numbers.
const char* history_page_path(int page, char* room) {
  static const char* const sections[10] = {"account", "brand", "cart", "coupon", "goods", "home", "live", "order", "search",
                                           "topic"};
  snprintf(room, 64, "pages/%s/p%03d", sections[page / 20], page);
  return room;
}

int history_scene(int scene) {
  static const int scenes[history_scenes] = {1089, 1007, 1008, 1011, 1005, 1006, 1012, 1020, 1035, 1037,
                                             1038, 1043, 1047, 1058, 1073, 1074, 1045, 1065, 1010};
  return scenes[scene];
}

const char* history_province(int province) {
  static const char* const names[history_provinces] = {
    "Guangdong", "Shandong", "Henan", "Jiangsu", "Sichuan", "Hebei", "Hunan", "Zhejiang", "Anhui", "Hubei",
    "Guangxi", "Yunnan", "Jiangxi", "Liaoning", "Fujian", "Shaanxi", "Guizhou", "Shanxi", "Chongqing", "Heilongjiang",
    "Xinjiang", "Shanghai", "Gansu", "Jilin", "Inner Mongolia", "Beijing", "Tianjin", "Hainan", "Ningxia", "Qinghai"};
  return names[province];
}

const char* history_city(int city, char* room) {
  snprintf(room, 64, "%s %d", history_province(city / 10), city % 10 + 1);
  return room;
}

const char* history_gender(int gender) {
  static const char* const names[3] = {NULL, "male", "female"};
  return names[gender];
}

const char* history_brand(int model) {
  static const char* const names[10] = {"Apple", "HUAWEI", "Xiaomi", "OPPO", "vivo", "HONOR", "Redmi", "realme", "samsung",
                                        "OnePlus"};
  return names[model % 10];
}

const char* history_model(int model, char* room) {
  snprintf(room, 64, "%s %d", history_brand(model), model / 10 + 6);
  return room;
}

const char* history_os(int model) { return model % 10 == 0 ? "iOS" : model % 10 == 1 ? "HarmonyOS" : "Android"; }

const char* history_os_version(int model, char* room) {
  snprintf(room, 64, "%d.%d", 10 + model / 10, model % 4);
  return room;
}

int history_width(int model) { return 360 + model % 5 * 12; }
int history_height(int model) { return 760 + model % 7 * 20; }

const char* history_network(int network) {
  static const char* const names[history_networks] = {"wifi", "5g", "4g", "unknown"};
  return names[network];
}

const char* history_host(int host) {
  static const char* const names[history_hosts] = {"8.0.49", "8.0.50", "8.0.51", "8.0.53", "8.0.54", "8.0.56"};
  return names[host];
}

const char* history_app_version(uint64_t time, char* room) {
  snprintf(room, 64, "3.%d.0", (int)(time / history_day_ms / 7));
  return room;
}

const char* history_query(int text, char* room) {
  snprintf(room, 64, "id=%d&from=share&utm=%d", text * 7919 % 1000003, text % 97);
  return room;
}

const char* history_keyword(int text, char* room) {
  snprintf(room, 64, "keyword %d", text);
  return room;
}

const char* history_product(int product, char* room) {
  snprintf(room, 64, "sku-%d", product);
  return room;
}

// As long as the platform's own.
const char* history_user(uint32_t user, char* room) {
  uint64_t bits = (user + 1) * 0x9e3779b97f4a7c15u;
  bits ^= bits >> 29;
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  int length = snprintf(room, 64, "o%07u", user);
  for (int i = 0; i < 20; i++) {
    room[length++] = letters[bits & 63];
    bits = bits * 0xff51afd7ed558ccdu;
    bits ^= bits >> 32;
  }
  room[length] = 0;
  return room;
}
