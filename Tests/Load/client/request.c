#include "request.h"

#include "wire.h"

enum { context_bytes_max = 512, event_bytes_max = 512, head_bytes_max = 512 };

static size_t encode_context(const struct batch* batch, uint8_t* out) {
  // The fields of `Context` that hold the texts, in their order.
  static const int fields[context_texts] = {2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15};
  const struct context_values* context = &batch->context;
  uint8_t* p = put_text(out, 1, batch->device->open_id);
  for (int i = 0; i < context_texts; i++) p = put_text(p, fields[i], context->texts[i]);
  p = put_number(p, 8, context->device_width);
  p = put_number(p, 9, context->device_height);
  p = put_number(p, 16, context->scene);
  p = put_text(p, 17, "wechat");
  p = put_text(p, 18, "3.12.0");
  p = put_text(p, 19, "8.0.49");
  p = put_text(p, 20, "1.0.0");
  return p - out;
}

static size_t encode_event(const struct event_values* event, bool four_fields, uint8_t* out) {
  uint8_t* p = put_text(out, 1, event->name);
  p = put_number(p, 2, event->time_ms);
  p = put_text(p, 3, event->page_path);
  p = event->event_id[0] ? put_text(p, 5, event->event_id) : put_number(p, 4, event->sequence);
  if (event->is_leave) p = put_integer_field(p, "stay_ms", event->number);
  if (event->is_leave && !four_fields) return p - out;
  p = put_text_field(p, "product_id", event->product_id);
  if (event->is_purchase || four_fields) p = put_double_field(p, "price", event->price);
  if (!event->is_leave && (event->is_purchase || four_fields)) p = put_integer_field(p, "quantity", event->number);
  if (four_fields) p = put_boolean_field(p, "is_member", event->is_member);
  return p - out;
}

size_t request_bytes(const struct event_options* options) {
  return context_bytes_max + head_bytes_max + (size_t)options->batch_events * 256;
}

size_t encode_request(const struct batch* batch, const struct event_options* options, const char* app, uint8_t* out) {
  uint8_t scratch[event_bytes_max > context_bytes_max ? event_bytes_max : context_bytes_max];
  uint8_t* p = put_text(out, 1, app);
  p = put_bytes(p, 2, scratch, encode_context(batch, scratch));
  for (int i = 0; i < batch->event_cnt; i++)
    p = put_bytes(p, 3, scratch, encode_event(&batch->events[i], options->four_fields, scratch));
  p = put_number(p, 4, batch->sent_ms);
  p = put_text(p, 5, batch->device->device_id);
  if (options->days > 0) p = put_number(p, 6, 1);
  return p - out;
}
