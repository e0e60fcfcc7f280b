#include "tree.h"

#include "clock.h"
#include "heap.h"

static uint64_t inodes; /* so far: the number of the last */

struct inode *inode_new(uint8_t type)
{
    struct inode *inode = heap_allocate(sizeof *inode);
    if (!inode)
        return NULL;
    uint64_t now = clock_now();
    *inode = (struct inode){.number = ++inodes, .accessed = now, .modified = now, .changed = now, .limit = UINT32_MAX, .type = type};
    inode->bytes = &inode->own;
    return inode;
}

/* Staged contents lie at a multiple of 8 and are padded to one: their memory can go to the heap as well. */
static uint8_t *padded_end(const struct bytes *bytes)
{
    return bytes->at + ((bytes->length + 7u) & ~7u);
}

static void free_bytes(struct inode *inode, struct bytes *bytes)
{
    if (inode->staged)
        heap_add(bytes->at, padded_end(bytes));
    else
        heap_free(bytes->at);
    inode->staged = false;
}

void inode_release(struct inode *inode)
{
    if (inode->links > 0 || inode->opens > 0)
        return;
    free_bytes(inode, inode->bytes);
    heap_free(inode);
}

bool inode_reserve(struct inode *inode, uint32_t size)
{
    struct bytes *bytes = inode->bytes;
    if (size <= bytes->length)
        return true;
    if (bytes->at && !inode->staged && (heap_room(bytes->at) >= size || heap_extend(bytes->at, size)))
        return true;
    uint64_t twice = UINT64_C(2) * bytes->length;
    struct bytes old = *bytes;
    uint8_t *fresh = NULL;
    if (twice > size && twice <= UINT32_MAX)
        fresh = heap_allocate((uint32_t)twice);
    if (!fresh)
        fresh = heap_allocate(size);
    if (!fresh)
        return false;
    if (old.length > 0)
        __builtin_memcpy(fresh, old.at, old.length);
    bytes->at = fresh; /* before the old ones are freed: a host that looks after a trap finds either whole */
    free_bytes(inode, &old);
    return true;
}

errno_t inode_resize(struct inode *inode, uint64_t size)
{
    struct bytes *bytes = inode->bytes;
    if (size > inode->limit)
        return FBIG;
    if (size > bytes->length) {
        if (!inode_reserve(inode, (uint32_t)size))
            return NOSPC;
        __builtin_memset(bytes->at + bytes->length, 0, (uint32_t)size - bytes->length);
        bytes->length = (uint32_t)size;
    } else if (size == 0) {
        free_bytes(inode, bytes);
        *bytes = (struct bytes){NULL, 0};
    } else {
        uint8_t *end = padded_end(bytes);
        bytes->length = (uint32_t)size;
        if (inode->staged)
            heap_add(padded_end(bytes), end);
        else
            heap_trim(bytes->at, (uint32_t)size);
    }
    inode_touch(inode);
    return SUCCESS;
}

void inode_touch(struct inode *inode)
{
    inode->modified = inode->changed = clock_now();
}

uint32_t directory_count(const struct inode *directory)
{
    return directory->own.length / sizeof(struct entry *);
}

struct entry **directory_entries(const struct inode *directory)
{
    return (struct entry **)directory->own.at;
}

static int compare(struct text left, const struct entry *right)
{
    uint32_t shorter = left.length < right->length ? left.length : right->length;
    for (uint32_t i = 0; i < shorter; i++) {
        if (left.at[i] != right->name[i])
            return (uint8_t)left.at[i] < (uint8_t)right->name[i] ? -1 : 1;
    }
    return left.length == right->length ? 0 : left.length < right->length ? -1 : 1;
}

struct entry *directory_find(const struct inode *directory, struct text name, uint32_t *index)
{
    struct entry **entries = directory_entries(directory);
    uint32_t low = 0, high = directory_count(directory);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        int order = compare(name, entries[middle]);
        if (order == 0) {
            *index = middle;
            return entries[middle];
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    *index = low;
    return NULL;
}

static void gain_name(struct inode *directory, struct inode *inode)
{
    inode_touch(directory);
    inode->changed = directory->changed;
    inode->links++;
    if (inode->type == DIRECTORY)
        inode->parent = directory;
}

static void lose_name(struct inode *directory, struct inode *inode)
{
    inode_touch(directory);
    inode->changed = directory->changed;
    if (--inode->links == 0)
        inode->parent = NULL; /* which may be gone before it */
    inode_release(inode);
}

errno_t directory_add(struct inode *directory, struct text name, struct inode *inode)
{
    if (directory->links == 0)
        return NOENT;
    uint32_t index, count = directory_count(directory);
    directory_find(directory, name, &index);
    struct entry *entry = heap_allocate(sizeof *entry + name.length);
    if (!entry)
        return NOMEM;
    if (!inode_reserve(directory, (count + 1) * sizeof entry)) {
        heap_free(entry);
        return NOMEM;
    }
    *entry = (struct entry){.holders = 1, .inode = inode, .length = name.length};
    __builtin_memcpy(entry->name, name.at, name.length);
    struct entry **at = directory_entries(directory) + index;
    __builtin_memmove(at + 1, at, (count - index) * sizeof entry);
    *at = entry;
    directory->own.length += sizeof entry;
    gain_name(directory, inode);
    return SUCCESS;
}

void directory_replace(struct inode *directory, uint32_t index, struct inode *inode)
{
    struct entry *entry = directory_entries(directory)[index];
    struct inode *old = entry->inode;
    entry->inode = inode;
    gain_name(directory, inode);
    lose_name(directory, old);
}

void directory_remove(struct inode *directory, uint32_t index)
{
    struct entry **at = directory_entries(directory) + index, *entry = *at;
    struct inode *inode = entry->inode;
    directory->own.length -= sizeof entry;
    __builtin_memmove(at, at + 1, directory->own.length - index * sizeof entry);
    entry->inode = NULL;
    entry_release(entry);
    lose_name(directory, inode);
}

void entry_release(struct entry *entry)
{
    if (--entry->holders == 0)
        heap_free(entry);
}
