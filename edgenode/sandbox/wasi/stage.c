#include "stage.h"

#include "clock.h"
#include "descriptors.h"
#include "heap.h"
#include "image.h"
#include "path.h"
#include "random.h"

struct result result;
_Static_assert(sizeof result == 14 * sizeof(uint32_t), "the host reads it as 14 numbers");

static struct inode *root; /* of the preopen "/"; it stays when the program closes it */

void stream_lost(const struct inode *stream)
{
    ((struct stream *)stream->bytes)->lost = 1;
}

/* ---- Before the program ------------------------------------------------------------------------------------------ */

struct settings {
    uint64_t realtime;
    uint8_t seed[SEED_BYTES];
    uint32_t out_limit, err_limit;
};

static bool open_stream(uint32_t fd, struct stream *stream, uint32_t limit)
{
    struct inode *inode = inode_new(STREAM);
    if (!inode)
        return false;
    inode->bytes = &stream->kept;
    inode->limit = limit;
    inode->links = 1; /* as if it had a name: what was written stays when the program closes it */
    descriptor_open(fd, inode, rights_of(STREAM), 0, 0);
    return true;
}

static errno_t begin(const struct record *record, struct inode **in)
{
    if (record->kind != SETTINGS || record->content.length != sizeof(struct settings))
        return INVAL;
    const struct settings *settings = (const struct settings *)record->content.at;
    clock_set(settings->realtime);
    random_seed(settings->seed);
    *in = inode_new(REGULAR);
    if (!*in)
        return NOMEM;
    const rights not_to_write = FD_WRITE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
    descriptor_open(0, *in, rights_of(REGULAR) & ~not_to_write, 0, 0);
    bool opened = open_stream(1, &result.out, settings->out_limit) && open_stream(2, &result.err, settings->err_limit);
    return opened ? SUCCESS : NOMEM;
}

static errno_t preopen(struct text name, struct inode **directory)
{
    uint32_t fd;
    errno_t error = descriptor_free(&fd);
    if (error)
        return error;
    *directory = inode_new(DIRECTORY);
    if (!*directory)
        return NOMEM;
    (*directory)->links = 1; /* as if it had a name: it is never removed */
    descriptor_open(fd, *directory, rights_of(DIRECTORY), INHERITABLE_RIGHTS, 0)->preopen = name;
    if (!root && name.length == 1 && name.at[0] == '/')
        root = *directory;
    return SUCCESS;
}

static void give(struct inode *inode, struct bytes content)
{
    if (content.length == 0)
        return;
    *inode->bytes = content;
    inode->staged = true;
}

/* A file, directory or symbolic link with the name of a record, below the last preopen. */
static errno_t plant(struct inode *base, const struct record *record, uint8_t type)
{
    struct place place;
    if (!base)
        return INVAL;
    errno_t error = path_resolve(base, record->name, NAME, &place);
    if (error)
        return error;
    if (place.found)
        return EXIST;
    struct inode *inode = inode_new(type);
    if (!inode)
        return NOMEM;
    give(inode, record->content);
    return directory_add(place.parent, place.name, inode);
}

static errno_t add(const struct record *record, struct inode *in, struct inode **base)
{
    switch (record->kind) {
    case ARGUMENT:
    case VARIABLE:
        return SUCCESS;
    case PREOPEN:
        return preopen(record->name, base);
    case STAGED_DIRECTORY:
        return plant(*base, record, DIRECTORY);
    case STAGED_FILE:
        return plant(*base, record, REGULAR);
    case STAGED_SYMLINK:
        return plant(*base, record, SYMLINK);
    case STDIN:
        give(in, record->content);
        return SUCCESS;
    default:
        return INVAL;
    }
}

/* The image lies at a multiple of 8; what is behind it becomes the heap. NOMEM when it does not fit, other errors for a wrong image. */
__attribute__((export_name("stage"))) errno_t stage(uint8_t *at, uint32_t length)
{
    uint64_t end = (uint64_t)__builtin_wasm_memory_size(0) << 16, used = (uint64_t)(uintptr_t)at + length;
    if (used > end)
        return NOMEM;
    errno_t error = image_set(at, length);
    if (error)
        return error;
    /* The last 8 bytes of 4 GiB are left out, so that sizes and ends fit in 32 bits. */
    heap_add((void *)(uintptr_t)used, (void *)(uintptr_t)(end > UINT32_MAX ? UINT32_MAX - 7 : end));
    const uint8_t *record_at = NULL;
    struct record record;
    struct inode *in, *base = NULL;
    if (!image_next(&record_at, &record))
        return INVAL;
    error = begin(&record, &in);
    while (!error && image_next(&record_at, &record))
        error = add(&record, in, &base);
    return error;
}

/* ---- After the program ------------------------------------------------------------------------------------------- */

static struct left find_left(struct text path)
{
    struct place place;
    bool found = root && path_resolve(root, path, NAME, &place) == SUCCESS && place.found && place.found->type == REGULAR;
    return found ? (struct left){*place.found->bytes, 1} : (struct left){0};
}

__attribute__((export_name("finish"))) void finish(void)
{
    result.state = find_left((struct text){"state/out", 9});
    result.derived = find_left((struct text){"out/derived.csv", 15});
}
