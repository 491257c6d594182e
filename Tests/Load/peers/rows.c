// A history as rows for the stores that query is compared with: codes in a packed record, as ClickHouse's RowBinary has
// them. Events stand in the order in which their opens begin.
//
//   rows --users N --days N [--events N] --out FOLDER     rows.bin, names.tsv (kind, code, name)
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "history.h"

struct __attribute__((packed)) row {
  uint64_t ts;
  uint16_t day;
  uint32_t uid, sid;
  uint8_t ev;
  uint16_t page;
  uint8_t scene, prov;
  uint16_t city;
  uint8_t gender, model, network, host;
  uint32_t amount;
  uint16_t product, text;
  uint32_t seq;
};

static FILE* open_file(const char* folder, const char* name) {
  char path[4096];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE* file = fopen(path, "wb");
  if (!file) {
    perror(path);
    exit(2);
  }
  setvbuf(file, NULL, _IOFBF, 1 << 20);
  return file;
}

static void write_rows(const struct history* history, const char* folder) {
  FILE* file = open_file(folder, "rows.bin");
  for (uint64_t number = 0; number < history->open_cnt; number++) {
    const struct history_open* open = &history->opens[number];
    for (int i = 0; i < open->event_cnt; i++) {
      const struct history_event* event = &history->events[open->first_event + i];
      struct row row = {
        event->time, event->time / history_day_ms, open->user, number, event->event, event->page, open->scene,
        open->province, open->city, open->gender, open->model, open->network, open->host, event->amount, event->product,
        event->text, event->sequence};
      if (fwrite(&row, sizeof row, 1, file) != 1) exit(2);
    }
  }
  if (fclose(file) != 0) exit(2);
}

static void write_names(const struct history* history, const char* folder) {
  FILE* file = open_file(folder, "names.tsv");
  char room[64];
  for (int i = 0; i < history_events; i++) fprintf(file, "event\t%d\t%s\n", i, history_event_name(i));
  for (int i = 0; i < history_pages; i++) fprintf(file, "page\t%d\t%s\n", i, history_page_path(i, room));
  for (int i = 0; i < history_scenes; i++) fprintf(file, "scene\t%d\t%d\n", i, history_scene(i));
  for (int i = 0; i < history_provinces; i++) fprintf(file, "province\t%d\t%s\n", i, history_province(i));
  for (int i = 0; i < history_models; i++) fprintf(file, "model\t%d\t%s\n", i, history_model(i, room));
  // The first open of each day.
  uint64_t next = 0;
  for (int day = 0; day < history->options.days; day++) {
    while (next < history->open_cnt && history->opens[next].time / history_day_ms < (uint64_t)day) next++;
    fprintf(file, "open\t%d\t%llu\n", day, (unsigned long long)next);
  }
  fprintf(file, "begin\t0\t%llu\n", (unsigned long long)history_begin_ms());
  if (fclose(file) != 0) exit(2);
}

int main(int count, char** arguments) {
  static const struct option names[] = {
    {"users", 1, 0, 'U'}, {"days", 1, 0, 'D'}, {"events", 1, 0, 'E'}, {"out", 1, 0, 'o'}, {0}};
  struct history_options options = {0};
  const char* folder = NULL;
  int key;
  while ((key = getopt_long(count, arguments, "", names, NULL)) != -1) {
    switch (key) {
      case 'U': options.users = strtoul(optarg, NULL, 10); break;
      case 'D': options.days = atoi(optarg); break;
      case 'E': options.events_max = strtoull(optarg, NULL, 10); break;
      case 'o': folder = optarg; break;
      default: return 2;
    }
  }
  if (options.users < 1 || options.days < 1 || options.days > 366 || !folder) {
    fprintf(stderr, "rows: --users, --days (1-366) and --out are needed\n");
    return 2;
  }
  const struct history* history = history_make(options);
  write_rows(history, folder);
  write_names(history, folder);
  printf("events %llu\nopens %llu\n", (unsigned long long)history->event_cnt, (unsigned long long)history->open_cnt);
  return 0;
}
