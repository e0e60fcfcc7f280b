/* Virtual time: it moves when a program looks at a clock or sleeps, and at no other moment. */
#ifndef CLOCK_H
#define CLOCK_H

#include "preview1.h"

void clock_set(uint64_t realtime);

/* What the realtime clock shows, ns since 1970. */
uint64_t clock_now(void);

#endif
