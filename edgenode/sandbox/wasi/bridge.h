/* The guest's memory, which lies outside of this module's: every access is checked here first, or answered with FAULT. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "preview1.h"

enum { PATH_LIMIT = 4096 };

/* An address in the guest's memory. */
typedef uint32_t guest;

/* Nothing lies anywhere: a length of 0 is never out of bounds. */
bool guest_has(guest at, uint64_t length);

/* These two trap unless guest_has(the guest's side, length). */
void guest_load(void *to, guest from, uint32_t length);
void guest_store(guest to, const void *from, uint32_t length);

/* Stores a whole answer. FAULT when it does not fit. */
errno_t guest_answer(guest to, const void *from, uint32_t length);

/* Loads a path into `buffer`. FAULT, NAMETOOLONG beyond PATH_LIMIT, INVAL when a NUL is in it. */
errno_t guest_path(guest at, uint32_t length, char buffer[PATH_LIMIT], struct text *path);

#endif
