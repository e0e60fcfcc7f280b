/* From a path to what it names, never out of the directory that it begins in. */
#ifndef PATH_H
#define PATH_H

#include "bridge.h"
#include "tree.h"

enum { SYMLINK_LIMIT = 40 };

/* What a symbolic link at the end of a path stands for. */
enum ending {
    FOLLOW,   /* what it points to */
    NOFOLLOW, /* itself, but with a slash behind it what it points to */
    NAME,     /* always itself: its name is what matters */
};

struct place {
    struct inode *found;  /* NULL: there is nothing of this name */
    struct inode *parent; /* NULL: the path ends in "." or "..", so there is a directory but no name */
    struct text name;     /* its characters are in `letters` */
    uint32_t index;       /* where the name stands in its parent, if found */
    bool slash;           /* the path ends in one */
    char letters[NAME_LIMIT];
};

/*
 * NOTCAPABLE for a path, or a symbolic link on the way, that is absolute or climbs above `base`; NOENT, NOTDIR (also for a file
 * with a slash behind it), NAMETOOLONG, LOOP after SYMLINK_LIMIT symbolic links.
 */
errno_t path_resolve(struct inode *base, struct text path, enum ending ending, struct place *place);

#endif
