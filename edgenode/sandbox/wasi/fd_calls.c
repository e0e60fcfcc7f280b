#include "bridge.h"
#include "clock.h"
#include "descriptors.h"
#include "files.h"
#include "stage.h"

/* ---- Reading and writing ---------------------------------------------------------------------------------------- */

enum { VECTORS = 1024 }; /* of one call: what more there are is left to the next, as with any short read or write */

static struct iovec vectors[VECTORS];

/*
 * Takes the vectors out of the guest's memory before anything is written there, and checks where they point to. `total` is the sum
 * of their lengths. FAULT; INVAL when it is beyond what a call can answer.
 */
static errno_t gather(guest at, uint32_t *count, uint32_t *total)
{
    if (!guest_has(at, (uint64_t)*count * sizeof *vectors))
        return FAULT;
    if (*count > VECTORS)
        *count = VECTORS;
    guest_load(vectors, at, *count * sizeof *vectors);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < *count; i++) {
        if (!guest_has(vectors[i].at, vectors[i].length))
            return FAULT;
        sum += vectors[i].length;
    }
    *total = (uint32_t)sum;
    return sum > UINT32_MAX ? INVAL : SUCCESS;
}

/* Straight from the file into the guest's memory. */
static errno_t read(const struct inode *inode, uint64_t offset, guest at, uint32_t count, guest answer, uint32_t *done)
{
    uint32_t total;
    errno_t error = guest_has(answer, sizeof total) ? gather(at, &count, &total) : FAULT;
    if (error)
        return error;
    struct bytes left = {NULL, 0};
    if (offset < inode->bytes->length)
        left = (struct bytes){inode->bytes->at + offset, inode->bytes->length - (uint32_t)offset};
    *done = total < left.length ? total : left.length;
    left.length = *done;
    for (const struct iovec *vector = vectors; left.length > 0; vector++) {
        uint32_t part = vector->length < left.length ? vector->length : left.length;
        guest_store(vector->at, left.at, part);
        left.at += part, left.length -= part;
    }
    guest_store(answer, done, sizeof *done);
    return SUCCESS;
}

/* Straight from the guest's memory into the file, or into a stream, which drops what is beyond its limit. */
static errno_t write(struct inode *inode, uint64_t offset, guest at, uint32_t count, guest answer, uint32_t *done)
{
    errno_t error = guest_has(answer, sizeof *done) ? gather(at, &count, done) : FAULT;
    if (error)
        return error;
    uint32_t left = *done;
    if (inode->type == STREAM && left > inode->limit - (uint32_t)offset) {
        left = inode->limit - (uint32_t)offset;
        stream_lost(inode);
    }
    if (left > 0) {
        uint64_t end = offset + left;
        if (end > inode->limit)
            return FBIG;
        if (!inode_reserve(inode, (uint32_t)end))
            return NOSPC;
        struct bytes *bytes = inode->bytes;
        uint8_t *to = bytes->at + offset;
        if (offset > bytes->length)
            __builtin_memset(bytes->at + bytes->length, 0, (uint32_t)offset - bytes->length);
        for (const struct iovec *vector = vectors; left > 0; vector++) {
            uint32_t part = vector->length < left ? vector->length : left;
            guest_load(to, vector->at, part);
            to += part, left -= part;
        }
        if (end > bytes->length)
            bytes->length = (uint32_t)end;
        inode_touch(inode);
    }
    guest_store(answer, done, sizeof *done);
    return SUCCESS;
}

errno_t CALL(fd_read)(uint32_t fd, guest at, uint32_t count, guest answer)
{
    struct descriptor *descriptor;
    uint32_t done;
    errno_t error = descriptor_find(fd, 1 << REGULAR | 1 << STREAM, FD_READ, &descriptor);
    if (!error)
        error = read(descriptor->inode, descriptor->offset, at, count, answer, &done);
    if (!error)
        descriptor->offset += done;
    return error;
}

errno_t CALL(fd_write)(uint32_t fd, guest at, uint32_t count, guest answer)
{
    struct descriptor *descriptor;
    uint32_t done;
    errno_t error = descriptor_find(fd, 1 << REGULAR | 1 << STREAM, FD_WRITE, &descriptor);
    if (error)
        return error;
    struct inode *inode = descriptor->inode;
    uint64_t offset = inode->type == STREAM || descriptor->flags & FDFLAGS_APPEND ? inode->bytes->length : descriptor->offset;
    error = write(inode, offset, at, count, answer, &done);
    if (!error)
        descriptor->offset = offset + done;
    return error;
}

errno_t CALL(fd_pread)(uint32_t fd, guest at, uint32_t count, uint64_t offset, guest answer)
{
    struct descriptor *descriptor;
    uint32_t done;
    errno_t error = descriptor_find(fd, 1 << REGULAR, FD_READ | FD_SEEK, &descriptor);
    if (error)
        return error;
    return offset > INT64_MAX ? INVAL : read(descriptor->inode, offset, at, count, answer, &done);
}

/* At `offset` even when the descriptor appends, as POSIX has it. */
errno_t CALL(fd_pwrite)(uint32_t fd, guest at, uint32_t count, uint64_t offset, guest answer)
{
    struct descriptor *descriptor;
    uint32_t done;
    errno_t error = descriptor_find(fd, 1 << REGULAR, FD_WRITE | FD_SEEK, &descriptor);
    if (error)
        return error;
    return offset > INT64_MAX ? INVAL : write(descriptor->inode, offset, at, count, answer, &done);
}

/* ---- The offset ------------------------------------------------------------------------------------------------- */

errno_t CALL(fd_seek)(uint32_t fd, int64_t by, uint32_t whence, guest answer)
{
    bool still = whence == WHENCE_CUR && by == 0;
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, 1 << REGULAR, still ? 0 : FD_SEEK, &descriptor);
    if (error)
        return error;
    if (still && !(descriptor->base & (FD_SEEK | FD_TELL)))
        return NOTCAPABLE;
    if (!guest_has(answer, sizeof by))
        return FAULT;
    if (whence > WHENCE_END)
        return INVAL;
    uint64_t from = whence == WHENCE_SET ? 0 : whence == WHENCE_CUR ? descriptor->offset : descriptor->inode->bytes->length;
    int64_t offset;
    if (__builtin_add_overflow((int64_t)from, by, &offset))
        return OVERFLOW;
    if (offset < 0)
        return INVAL;
    descriptor->offset = (uint64_t)offset;
    guest_store(answer, &offset, sizeof offset);
    return SUCCESS;
}

errno_t CALL(fd_tell)(uint32_t fd, guest answer)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, 1 << REGULAR, 0, &descriptor);
    if (error)
        return error;
    if (!(descriptor->base & (FD_SEEK | FD_TELL)))
        return NOTCAPABLE;
    return guest_answer(answer, &descriptor->offset, sizeof descriptor->offset);
}

/* ---- What a file is --------------------------------------------------------------------------------------------- */

struct filestat filestat_of(const struct inode *inode)
{
    return (struct filestat){
        .device = 1,
        .number = inode->number,
        .filetype = inode->type,
        .links = inode->links,
        .size = inode->bytes->length,
        .accessed = inode->accessed,
        .modified = inode->modified,
        .changed = inode->changed,
    };
}

errno_t set_times(struct inode *inode, uint64_t accessed, uint64_t modified, uint32_t flags)
{
    const uint32_t access = FSTFLAGS_ATIM | FSTFLAGS_ATIM_NOW, modification = FSTFLAGS_MTIM | FSTFLAGS_MTIM_NOW;
    if (flags & ~FSTFLAGS_ALL || (flags & access) == access || (flags & modification) == modification)
        return INVAL;
    inode->changed = clock_now();
    if (flags & access)
        inode->accessed = flags & FSTFLAGS_ATIM ? accessed : inode->changed;
    if (flags & modification)
        inode->modified = flags & FSTFLAGS_MTIM ? modified : inode->changed;
    return SUCCESS;
}

errno_t CALL(fd_filestat_get)(uint32_t fd, guest answer)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, FD_FILESTAT_GET, &descriptor);
    if (error)
        return error;
    struct filestat stat = filestat_of(descriptor->inode);
    return guest_answer(answer, &stat, sizeof stat);
}

errno_t CALL(fd_filestat_set_size)(uint32_t fd, uint64_t size)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, 1 << REGULAR, FD_FILESTAT_SET_SIZE, &descriptor);
    if (error)
        return error;
    return size > INT64_MAX ? INVAL : inode_resize(descriptor->inode, size);
}

errno_t CALL(fd_filestat_set_times)(uint32_t fd, uint64_t accessed, uint64_t modified, uint32_t flags)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, FD_FILESTAT_SET_TIMES, &descriptor);
    return error ? error : set_times(descriptor->inode, accessed, modified, flags);
}

errno_t CALL(fd_allocate)(uint32_t fd, uint64_t offset, uint64_t length)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, 1 << REGULAR, FD_ALLOCATE, &descriptor);
    if (error)
        return error;
    if (offset > INT64_MAX || length > INT64_MAX || length == 0)
        return INVAL;
    return offset + length > descriptor->inode->bytes->length ? inode_resize(descriptor->inode, offset + length) : SUCCESS;
}

errno_t CALL(fd_advise)(uint32_t fd, uint64_t offset, uint64_t length, uint32_t advice)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, 1 << REGULAR, FD_ADVISE, &descriptor);
    if (error)
        return error;
    return offset > INT64_MAX || length > INT64_MAX || advice > ADVICE_LAST ? INVAL : SUCCESS;
}

/* Nothing is anywhere but in memory. */
errno_t CALL(fd_sync)(uint32_t fd)
{
    struct descriptor *descriptor;
    return descriptor_find(fd, ANY_TYPE, FD_SYNC, &descriptor);
}

errno_t CALL(fd_datasync)(uint32_t fd)
{
    struct descriptor *descriptor;
    return descriptor_find(fd, ANY_TYPE, FD_DATASYNC, &descriptor);
}
