/* Files and directories in memory. */
#ifndef TREE_H
#define TREE_H

#include "preview1.h"

enum { NAME_LIMIT = 255 };

struct bytes {
    uint8_t *at;
    uint32_t length;
};

struct inode {
    uint64_t number;
    uint64_t accessed, modified, changed; /* ns since 1970 */
    struct bytes *bytes;                  /* the contents; a stream's are in `result`, so that the host finds them at any moment */
    struct bytes own;                     /* of all others: data, target of a symbolic link, or pointers to a directory's entries */
    uint32_t limit;                       /* of their length */
    uint32_t links, opens;                /* names; descriptors. It lives while it has any of either */
    struct inode *parent;                 /* of a directory that is not a root */
    uint8_t type;                         /* enum filetype */
    bool staged;                          /* the contents still lie where the host put them */
};

/* A name in a directory. It outlives its place there, with no inode, while a listing has it. */
struct entry {
    uint32_t holders;
    struct inode *inode;
    uint32_t length;
    char name[];
};

/* A new inode with no name, NULL when there is no memory. Its time stamps are now. */
struct inode *inode_new(uint8_t type);

/* Frees it when it has neither names nor descriptors. */
void inode_release(struct inode *inode);

/* Makes room for a length of `size` bytes, at a cost that is constant for each byte over all calls. False when there is no memory. */
bool inode_reserve(struct inode *inode, uint32_t size);

/* Cuts or extends with zeros. FBIG beyond the limit, NOSPC. */
errno_t inode_resize(struct inode *inode, uint64_t size);

void inode_touch(struct inode *inode);

uint32_t directory_count(const struct inode *directory);

/* In byte order of their names. */
struct entry **directory_entries(const struct inode *directory);

/* The entry of a name, or NULL and where it would stand. */
struct entry *directory_find(const struct inode *directory, struct text name, uint32_t *index);

/* Adds a name that is not there. NOENT in a directory that was removed; NOMEM. */
errno_t directory_add(struct inode *directory, struct text name, struct inode *inode);

/* Gives the name at `index` to another inode. */
void directory_replace(struct inode *directory, uint32_t index, struct inode *inode);

/* Takes away the entry that is at `index`, and the name from its inode. */
void directory_remove(struct inode *directory, uint32_t index);

void entry_release(struct entry *entry);

#endif
