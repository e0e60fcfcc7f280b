#include "descriptors.h"

#include "bridge.h"
#include "heap.h"

static struct descriptor table[DESCRIPTORS];

rights rights_of(uint8_t type)
{
    const rights any = FD_FDSTAT_SET_FLAGS | FD_SYNC | FD_DATASYNC | FD_FILESTAT_GET | POLL_FD_READWRITE;
    if (type == DIRECTORY)
        return any | FD_FILESTAT_SET_TIMES | FD_READDIR | PATH_CREATE_DIRECTORY | PATH_CREATE_FILE | PATH_LINK_SOURCE | PATH_LINK_TARGET |
               PATH_OPEN | PATH_READLINK | PATH_RENAME_SOURCE | PATH_RENAME_TARGET | PATH_FILESTAT_GET | PATH_FILESTAT_SET_SIZE |
               PATH_FILESTAT_SET_TIMES | PATH_SYMLINK | PATH_REMOVE_DIRECTORY | PATH_UNLINK_FILE;
    if (type == REGULAR)
        return any | FD_READ | FD_WRITE | FD_SEEK | FD_TELL | FD_ADVISE | FD_ALLOCATE | FD_FILESTAT_SET_SIZE | FD_FILESTAT_SET_TIMES;
    return any | FD_WRITE;
}

errno_t descriptor_find(uint32_t fd, uint32_t types, rights needed, struct descriptor **found)
{
    if (fd >= DESCRIPTORS || !table[fd].inode)
        return BADF;
    struct descriptor *descriptor = *found = &table[fd];
    if (!(types >> descriptor->inode->type & 1)) {
        if (types == 1 << DIRECTORY)
            return NOTDIR;
        return descriptor->inode->type == DIRECTORY ? ISDIR : SPIPE;
    }
    rights missing = needed & ~descriptor->base;
    if (missing & (FD_READ | FD_WRITE))
        return BADF;
    return missing ? NOTCAPABLE : SUCCESS;
}

errno_t descriptor_free(uint32_t *fd)
{
    for (*fd = 0; *fd < DESCRIPTORS; ++*fd) {
        if (!table[*fd].inode)
            return SUCCESS;
    }
    return MFILE;
}

struct descriptor *descriptor_open(uint32_t fd, struct inode *inode, rights base, rights inheriting, uint16_t flags)
{
    inode->opens++;
    table[fd] = (struct descriptor){.inode = inode, .base = base, .inheriting = inheriting, .flags = flags};
    return &table[fd];
}

static void forget_listing(struct descriptor *descriptor)
{
    for (uint32_t i = 0; i < descriptor->listed; i++)
        entry_release(descriptor->listing[i]);
    heap_free(descriptor->listing);
    descriptor->listing = NULL;
    descriptor->listed = 0;
}

static void close(struct descriptor *descriptor)
{
    forget_listing(descriptor);
    descriptor->inode->opens--;
    inode_release(descriptor->inode);
    descriptor->inode = NULL;
}

errno_t CALL(fd_close)(uint32_t fd)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, 0, &descriptor);
    if (!error)
        close(descriptor);
    return error;
}

errno_t CALL(fd_renumber)(uint32_t from, uint32_t to)
{
    struct descriptor *source, *target;
    errno_t error = descriptor_find(from, ANY_TYPE, 0, &source);
    if (!error)
        error = descriptor_find(to, ANY_TYPE, 0, &target);
    if (error || from == to)
        return error;
    close(target);
    *target = *source;
    source->inode = NULL;
    return SUCCESS;
}

errno_t CALL(fd_fdstat_get)(uint32_t fd, guest answer)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, 0, &descriptor);
    if (error)
        return error;
    struct fdstat stat = {descriptor->inode->type, descriptor->flags, descriptor->base, descriptor->inheriting};
    return guest_answer(answer, &stat, sizeof stat);
}

errno_t CALL(fd_fdstat_set_flags)(uint32_t fd, uint32_t flags)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, FD_FDSTAT_SET_FLAGS, &descriptor);
    if (error)
        return error;
    if (flags & ~FDFLAGS_ALL)
        return INVAL;
    descriptor->flags = (uint16_t)flags;
    return SUCCESS;
}

errno_t CALL(fd_fdstat_set_rights)(uint32_t fd, rights base, rights inheriting)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, 0, &descriptor);
    if (error)
        return error;
    if (base & ~descriptor->base || inheriting & ~descriptor->inheriting)
        return NOTCAPABLE;
    descriptor->base = base;
    descriptor->inheriting = inheriting;
    return SUCCESS;
}

/* BADF for all that is not a preopened directory: that ends the search for them in every C library. */
static errno_t find_preopen(uint32_t fd, struct text *name)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, 0, &descriptor);
    if (error || !descriptor->preopen.at)
        return BADF;
    *name = descriptor->preopen;
    return SUCCESS;
}

errno_t CALL(fd_prestat_get)(uint32_t fd, guest answer)
{
    struct text name;
    errno_t error = find_preopen(fd, &name);
    if (error)
        return error;
    struct prestat stat = {.name_length = name.length};
    return guest_answer(answer, &stat, sizeof stat);
}

errno_t CALL(fd_prestat_dir_name)(uint32_t fd, guest to, uint32_t room)
{
    struct text name;
    errno_t error = find_preopen(fd, &name);
    if (error)
        return error;
    return room < name.length ? NAMETOOLONG : guest_answer(to, name.at, name.length);
}

/* ---- Reading a directory ---------------------------------------------------------------------------------------- */

/*
 * A listing is made when a directory is read from its beginning, and a cookie is a place in it: it stays what it is whatever is
 * added or removed meanwhile. What was removed is left out; what was added shows when the reading begins anew.
 */
static errno_t list(struct descriptor *descriptor)
{
    forget_listing(descriptor);
    uint32_t count = directory_count(descriptor->inode);
    if (count == 0)
        return SUCCESS;
    descriptor->listing = heap_allocate(count * sizeof *descriptor->listing);
    if (!descriptor->listing)
        return NOMEM;
    descriptor->listed = count;
    __builtin_memcpy(descriptor->listing, directory_entries(descriptor->inode), count * sizeof *descriptor->listing);
    for (uint32_t i = 0; i < count; i++)
        descriptor->listing[i]->holders++;
    return SUCCESS;
}

/* What stands at `place`: ".", "..", then the names. False for a name that was removed. */
static bool read_entry(const struct descriptor *descriptor, uint64_t place, struct text *name, const struct inode **inode)
{
    const struct inode *directory = descriptor->inode;
    if (place < 2) {
        *name = (struct text){"..", (uint32_t)place + 1};
        *inode = place == 1 && directory->parent ? directory->parent : directory;
        return true;
    }
    const struct entry *entry = descriptor->listing[place - 2];
    *name = (struct text){entry->name, entry->length};
    *inode = entry->inode;
    return entry->inode != NULL;
}

errno_t CALL(fd_readdir)(uint32_t fd, guest to, uint32_t room, uint64_t cookie, guest answer)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, 1 << DIRECTORY, FD_READDIR, &descriptor);
    if (error)
        return error;
    if (!guest_has(to, room) || !guest_has(answer, sizeof room))
        return FAULT;
    if (cookie == 0 || !descriptor->listing) {
        error = list(descriptor);
        if (error)
            return error;
    }
    uint32_t filled = 0;
    for (; cookie < UINT64_C(2) + descriptor->listed && filled < room; cookie++) {
        struct text name;
        const struct inode *inode;
        if (!read_entry(descriptor, cookie, &name, &inode))
            continue;
        struct {
            struct dirent head;
            char name[NAME_LIMIT];
        } record;
        record.head = (struct dirent){cookie + 1, inode->number, name.length, inode->type};
        __builtin_memcpy(record.name, name.at, name.length);
        uint32_t length = sizeof record.head + name.length, part = length < room - filled ? length : room - filled;
        guest_store(to + filled, &record, part);
        filled += part;
    }
    guest_store(answer, &filled, sizeof filled);
    return SUCCESS;
}
