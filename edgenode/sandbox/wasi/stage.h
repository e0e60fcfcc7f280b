/* The calls of the host, and what it reads when a program has ended. */
#ifndef STAGE_H
#define STAGE_H

#include "tree.h"

struct stream {
    struct bytes kept;
    uint32_t lost; /* 1 when more was written than is kept */
};

struct left {
    struct bytes content;
    uint32_t found;
};

extern struct result {
    uint32_t exited, exit_code;
    struct stream out, err;
    struct left state, derived;
} result;

/* Notes that something was written to a stream that is full. */
void stream_lost(const struct inode *stream);

/* Finds the files that the program left. */
void finish(void);

#endif
