#pragma once
// A hint that Swift cannot give.

// Memory that is read soon. Costs about as much as a load that nobody waits for; any address may be given.
static inline void footfall_prefetch(const void* _Nonnull memory) { __builtin_prefetch(memory); }
