// A batch as an encoded CollectRequest.
#ifndef FOOTFALL_LOAD_REQUEST_H
#define FOOTFALL_LOAD_REQUEST_H

#include <stddef.h>
#include <stdint.h>

#include "events.h"

// An upper bound of what `encode_request` writes.
size_t request_bytes(const struct event_options* options);

// Returns the number of bytes.
size_t encode_request(const struct batch* batch, const struct event_options* options, const char* app, uint8_t* out);

#endif
