/* Memory for whatever is made while a program runs: boundary tags, and a list of free blocks for each class of sizes. */
#ifndef HEAP_H
#define HEAP_H

#include "preview1.h"

/* Gives [from, to) to the heap; too small a piece is lost. Both are multiples of 8. */
void heap_add(void *from, void *to);

/* `size` bytes at a multiple of 8, not cleared; NULL when no free block is that large. */
void *heap_allocate(uint32_t size);
void heap_free(void *at);

/* Bytes that the block has room for. */
uint32_t heap_room(const void *at);

/* Grows a block in place, if the free bytes behind it allow. */
bool heap_extend(void *at, uint32_t size);

/* Gives back what lies beyond the first `size` bytes. */
void heap_trim(void *at, uint32_t size);

#endif
