#include "heap.h"

/*
 * A block is this header, then its room. Blocks lie without gaps between the first of a piece, whose `before` is 0, and an end mark,
 * a header alone that is never free: so both neighbours of a block are found in one step, and two free blocks never touch.
 */
struct block {
    uint32_t before; /* size of the block before this one */
    uint32_t size;   /* of this one with its header, a multiple of 8; FREE is added to it */
    struct block *next, *previous; /* in a list, when it is free */
};

enum { HEADER = 8, FREE = 1, LEAST = sizeof(struct block), CLASSES = 128 };

static struct block *lists[CLASSES];
static uint64_t used[CLASSES / 64]; /* a bit for each list that is not empty */

/* Four classes to each power of two. Every block of a class is larger than any of the class before. */
static uint32_t class_of(uint32_t size)
{
    uint32_t power = 31 - (uint32_t)__builtin_clz(size);
    return 4 * power + (size >> (power - 2) & 3);
}

static uint32_t size_of(const struct block *block)
{
    return block->size & ~(uint32_t)FREE;
}

static struct block *after(const struct block *block)
{
    return (struct block *)((char *)block + size_of(block));
}

static struct block *block_of(const void *at)
{
    return (struct block *)((char *)at - HEADER);
}

static void list_add(struct block *block)
{
    uint32_t class = class_of(block->size);
    block->size |= FREE;
    block->previous = NULL;
    block->next = lists[class];
    if (block->next)
        block->next->previous = block;
    lists[class] = block;
    used[class / 64] |= UINT64_C(1) << class % 64;
}

static void list_take(struct block *block)
{
    block->size -= FREE;
    uint32_t class = class_of(block->size);
    if (block->next)
        block->next->previous = block->previous;
    if (block->previous)
        block->previous->next = block->next;
    else
        lists[class] = block->next;
    if (!lists[class])
        used[class / 64] &= ~(UINT64_C(1) << class % 64);
}

static void resize(struct block *block, uint32_t size)
{
    block->size = size;
    after(block)->before = size;
}

/* The size of a block with room for `size` bytes, 0 when there is none that large. */
static uint32_t block_size(uint32_t size)
{
    if (size > UINT32_MAX - 2 * HEADER)
        return 0;
    size = (size + HEADER + 7) & ~7u;
    return size < LEAST ? LEAST : size;
}

static void join_free(struct block *block)
{
    struct block *next = after(block);
    if (next->size & FREE) {
        list_take(next);
        resize(block, block->size + next->size);
    }
    if (block->before) {
        struct block *previous = (struct block *)((char *)block - block->before);
        if (previous->size & FREE) {
            list_take(previous);
            resize(previous, previous->size + block->size);
            block = previous;
        }
    }
    list_add(block);
}

static void split(struct block *block, uint32_t size)
{
    uint32_t rest = block->size - size;
    if (rest < LEAST)
        return;
    resize(block, size);
    struct block *tail = after(block);
    tail->before = size;
    resize(tail, rest);
    join_free(tail);
}

void heap_add(void *from, void *to)
{
    if (from >= to || (uintptr_t)to - (uintptr_t)from < LEAST + HEADER) /* unsigned: a piece may have more than 2 GiB */
        return;
    struct block *first = from, *end = (struct block *)((char *)to - HEADER);
    end->size = HEADER;
    first->before = 0;
    resize(first, (uint32_t)((char *)end - (char *)first));
    list_add(first);
}

void *heap_allocate(uint32_t size)
{
    size = block_size(size);
    if (size == 0)
        return NULL;
    uint32_t class = class_of(size);
    struct block *found = lists[class];
    while (found && size_of(found) < size)
        found = found->next;
    for (class++; !found && class < CLASSES; class = (class | 63) + 1) {
        uint64_t larger = used[class / 64] >> class % 64;
        if (larger)
            found = lists[class + (uint32_t)__builtin_ctzll(larger)];
    }
    if (!found)
        return NULL;
    list_take(found);
    split(found, size);
    return (char *)found + HEADER;
}

void heap_free(void *at)
{
    if (at)
        join_free(block_of(at));
}

uint32_t heap_room(const void *at)
{
    return block_of(at)->size - HEADER;
}

bool heap_extend(void *at, uint32_t size)
{
    struct block *block = block_of(at), *next = after(block);
    size = block_size(size);
    if (size == 0 || !(next->size & FREE) || block->size + size_of(next) < size)
        return false;
    list_take(next);
    resize(block, block->size + next->size);
    split(block, size);
    return true;
}

void heap_trim(void *at, uint32_t size)
{
    split(block_of(at), block_size(size));
}
