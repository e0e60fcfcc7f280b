#include "path.h"

/* Replaces the component just read by the target of a symbolic link, in front of `rest`. */
static errno_t expand(const struct inode *link, bool slash, struct text *rest)
{
    static char buffers[2][PATH_LIMIT]; /* in turn: the rest may lie in the one that was filled last */
    static uint32_t turn;
    char *buffer = buffers[turn ^= 1];
    struct bytes target = *link->bytes;
    if (target.length == 0)
        return NOENT;
    if (target.at[0] == '/')
        return NOTCAPABLE;
    if ((uint64_t)target.length + slash + rest->length > PATH_LIMIT)
        return NAMETOOLONG;
    __builtin_memcpy(buffer, target.at, target.length);
    if (slash)
        buffer[target.length] = '/';
    __builtin_memcpy(buffer + target.length + slash, rest->at, rest->length);
    *rest = (struct text){buffer, target.length + slash + rest->length};
    return SUCCESS;
}

/* Takes the first component, and the slashes behind it, off a path. */
static struct text next_component(struct text *path, bool *slash)
{
    struct text component = {path->at, 0};
    while (component.length < path->length && path->at[component.length] != '/')
        component.length++;
    uint32_t taken = component.length;
    while (taken < path->length && path->at[taken] == '/')
        taken++;
    *slash = taken > component.length;
    *path = (struct text){path->at + taken, path->length - taken};
    return component;
}

errno_t path_resolve(struct inode *base, struct text path, enum ending ending, struct place *place)
{
    if (path.length == 0)
        return NOENT;
    if (path.at[0] == '/')
        return NOTCAPABLE;
    struct inode *at = base;
    uint32_t links = 0;
    while (path.length > 0) {
        struct text name = next_component(&path, &place->slash);
        bool last = path.length == 0;
        if (name.length > NAME_LIMIT)
            return NAMETOOLONG;
        bool dots = name.at[0] == '.' && (name.length == 1 || (name.length == 2 && name.at[1] == '.'));
        if (dots) {
            if (name.length == 2 && at == base)
                return NOTCAPABLE;
            at = name.length == 2 ? at->parent : at;
            continue;
        }
        uint32_t index;
        struct entry *entry = directory_find(at, name, &index);
        struct inode *found = entry ? entry->inode : NULL;
        if (found && found->type == SYMLINK && (!last || ending == FOLLOW || (ending == NOFOLLOW && place->slash))) {
            if (++links > SYMLINK_LIMIT)
                return LOOP;
            errno_t error = expand(found, place->slash, &path);
            if (error)
                return error;
            continue;
        }
        if (!found && !last)
            return NOENT;
        if (found && found->type != DIRECTORY && place->slash)
            return NOTDIR;
        if (last) {
            place->found = found;
            place->parent = at;
            place->index = index;
            place->name = (struct text){place->letters, name.length};
            __builtin_memcpy(place->letters, name.at, name.length);
            return SUCCESS;
        }
        at = found;
    }
    place->found = at;
    place->parent = NULL;
    return SUCCESS;
}
