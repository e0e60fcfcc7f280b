/* The image: what the host lays into memory before a program starts. README.md has its format. */
#ifndef IMAGE_H
#define IMAGE_H

#include "tree.h"

enum kind { SETTINGS, ARGUMENT, VARIABLE, PREOPEN, STAGED_DIRECTORY, STAGED_FILE, STAGED_SYMLINK, STDIN };

struct record {
    uint32_t kind;
    struct text name;
    struct bytes content; /* at a multiple of 8, and padded to one */
};

/* Where the image lies. INVAL when a record reaches over its end. */
errno_t image_set(uint8_t *at, uint32_t length);

/* Steps to the next record; `*at` is NULL for the first. False at the end. */
bool image_next(const uint8_t **at, struct record *record);

#endif
