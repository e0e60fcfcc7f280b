/* What a program's file descriptors stand for. */
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include "tree.h"

enum { DESCRIPTORS = 1024, FIRST_PREOPEN = 3 };

struct descriptor {
    struct inode *inode; /* NULL: not open */
    uint64_t offset;
    rights base, inheriting;
    struct text preopen;    /* its name, of a preopened directory */
    struct entry **listing; /* of a directory, as it was when it was last read from its beginning */
    uint32_t listed;        /* entries in it */
    uint16_t flags;
};

/* Sets of types, for descriptor_find. */
enum { ANY_TYPE = 1 << STREAM | 1 << DIRECTORY | 1 << REGULAR };

/* The rights that mean something for a type. */
rights rights_of(uint8_t type);

/* Those that what is opened below a directory can have. */
#define INHERITABLE_RIGHTS (rights_of(DIRECTORY) | rights_of(REGULAR))

/*
 * Finds an open descriptor. BADF when it is not open; NOTDIR, ISDIR or SPIPE when its type is none of `types`; when it lacks one of
 * the rights BADF for reading and writing, as POSIX has it, and NOTCAPABLE for the others.
 */
errno_t descriptor_find(uint32_t fd, uint32_t types, rights needed, struct descriptor **found);

/* The lowest that is free. MFILE when none is. */
errno_t descriptor_free(uint32_t *fd);

/* Opens a free one. */
struct descriptor *descriptor_open(uint32_t fd, struct inode *inode, rights base, rights inheriting, uint16_t flags);

#endif
