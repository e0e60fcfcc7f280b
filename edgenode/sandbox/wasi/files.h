/* What the calls on descriptors and the calls on paths share. */
#ifndef FILES_H
#define FILES_H

#include "tree.h"

struct filestat filestat_of(const struct inode *inode);

/* INVAL for a time that is to be both given and now, and for unknown flags. */
errno_t set_times(struct inode *inode, uint64_t accessed, uint64_t modified, uint32_t flags);

#endif
