#ifndef RANDOM_H
#define RANDOM_H

#include "preview1.h"

enum { SEED_BYTES = 32 };

void random_seed(const uint8_t seed[SEED_BYTES]);

#endif
