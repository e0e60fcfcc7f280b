#include "descriptors.h"
#include "files.h"
#include "path.h"

static char paths[2][PATH_LIMIT]; /* two for the calls that have two */

static errno_t find_below(const struct descriptor *directory, guest at, uint32_t length, enum ending ending, int which, struct place *place)
{
    struct text path;
    errno_t error = guest_path(at, length, paths[which], &path);
    return error ? error : path_resolve(directory->inode, path, ending, place);
}

/* The place that a path leads to from a directory with the rights that are needed. */
static errno_t find(uint32_t fd, rights needed, guest at, uint32_t length, enum ending ending, int which, struct place *place)
{
    struct descriptor *directory;
    errno_t error = descriptor_find(fd, 1 << DIRECTORY, needed, &directory);
    return error ? error : find_below(directory, at, length, ending, which, place);
}

/* The same with the lookup flags of the calls that have them. */
static errno_t find_any(uint32_t fd, rights needed, uint32_t lookup, guest at, uint32_t length, struct place *place)
{
    if (lookup & ~LOOKUP_SYMLINK_FOLLOW)
        return INVAL;
    return find(fd, needed, at, length, lookup ? FOLLOW : NOFOLLOW, 0, place);
}

/* A new inode at a place where nothing is. */
static errno_t create(const struct place *place, uint8_t type, struct inode **inode)
{
    *inode = inode_new(type);
    if (!*inode)
        return NOMEM;
    errno_t error = directory_add(place->parent, place->name, *inode);
    if (error)
        inode_release(*inode);
    return error;
}

/* ---- Opening ---------------------------------------------------------------------------------------------------- */

/* Whether what was found, or NULL, may be opened like this. */
static errno_t judge_open(const struct place *place, uint32_t oflags, rights base)
{
    const struct inode *found = place->found;
    if (!found)
        return !(oflags & OFLAGS_CREAT) ? NOENT : place->slash ? ISDIR : SUCCESS;
    if (oflags & OFLAGS_CREAT && oflags & OFLAGS_EXCL)
        return EXIST;
    if (found->type == SYMLINK)
        return LOOP;
    if (found->type == DIRECTORY)
        return oflags & (OFLAGS_CREAT | OFLAGS_TRUNC) || base & FD_WRITE ? ISDIR : SUCCESS;
    return oflags & OFLAGS_DIRECTORY ? NOTDIR : SUCCESS;
}

errno_t CALL(path_open)(uint32_t fd, uint32_t lookup, guest at, uint32_t length, uint32_t oflags, rights base, rights inheriting,
                        uint32_t flags, guest answer)
{
    rights needed = PATH_OPEN | (oflags & OFLAGS_CREAT ? PATH_CREATE_FILE : 0) | (oflags & OFLAGS_TRUNC ? PATH_FILESTAT_SET_SIZE : 0);
    struct descriptor *directory;
    errno_t error = descriptor_find(fd, 1 << DIRECTORY, needed, &directory);
    if (error)
        return error;
    if (!guest_has(answer, sizeof fd))
        return FAULT;
    bool contrary = oflags & OFLAGS_DIRECTORY && oflags & (OFLAGS_CREAT | OFLAGS_TRUNC);
    if (lookup & ~LOOKUP_SYMLINK_FOLLOW || oflags & ~OFLAGS_ALL || flags & ~FDFLAGS_ALL || contrary)
        return INVAL;

    struct place place;
    bool follow = lookup && !(oflags & OFLAGS_CREAT && oflags & OFLAGS_EXCL);
    error = find_below(directory, at, length, follow ? FOLLOW : NOFOLLOW, 0, &place);
    if (!error)
        error = judge_open(&place, oflags, base);
    if (error)
        return error;
    uint8_t type = place.found ? place.found->type : REGULAR;
    base &= rights_of(type);
    if (base & ~directory->inheriting)
        return NOTCAPABLE;
    /* What is asked to be inherited does not narrow: Zig asks for the rights of directories alone, and then writes files below. */
    (void)inheriting;

    uint32_t opened;
    error = descriptor_free(&opened);
    if (!error && !place.found)
        error = create(&place, REGULAR, &place.found);
    else if (!error && oflags & OFLAGS_TRUNC)
        error = inode_resize(place.found, 0);
    if (error)
        return error;
    descriptor_open(opened, place.found, base, type == DIRECTORY ? directory->inheriting : 0, (uint16_t)flags);
    guest_store(answer, &opened, sizeof opened);
    return SUCCESS;
}

/* ---- What is there ---------------------------------------------------------------------------------------------- */

errno_t CALL(path_filestat_get)(uint32_t fd, uint32_t lookup, guest at, uint32_t length, guest answer)
{
    struct place place;
    errno_t error = find_any(fd, PATH_FILESTAT_GET, lookup, at, length, &place);
    if (error)
        return error;
    if (!place.found)
        return NOENT;
    struct filestat stat = filestat_of(place.found);
    return guest_answer(answer, &stat, sizeof stat);
}

errno_t CALL(path_filestat_set_times)(uint32_t fd, uint32_t lookup, guest at, uint32_t length, uint64_t accessed, uint64_t modified,
                                      uint32_t flags)
{
    struct place place;
    errno_t error = find_any(fd, PATH_FILESTAT_SET_TIMES, lookup, at, length, &place);
    if (error)
        return error;
    return place.found ? set_times(place.found, accessed, modified, flags) : NOENT;
}

errno_t CALL(path_readlink)(uint32_t fd, guest at, uint32_t length, guest to, uint32_t room, guest answer)
{
    struct place place;
    errno_t error = find(fd, PATH_READLINK, at, length, NOFOLLOW, 0, &place);
    if (error)
        return error;
    if (!guest_has(to, room) || !guest_has(answer, sizeof room))
        return FAULT;
    if (!place.found)
        return NOENT;
    if (place.found->type != SYMLINK)
        return INVAL;
    const struct bytes *target = place.found->bytes;
    uint32_t part = target->length < room ? target->length : room;
    guest_store(to, target->at, part);
    guest_store(answer, &part, sizeof part);
    return SUCCESS;
}

/* ---- New names -------------------------------------------------------------------------------------------------- */

errno_t CALL(path_create_directory)(uint32_t fd, guest at, uint32_t length)
{
    struct place place;
    struct inode *inode;
    errno_t error = find(fd, PATH_CREATE_DIRECTORY, at, length, NAME, 0, &place);
    if (error)
        return error;
    return place.found ? EXIST : create(&place, DIRECTORY, &inode);
}

errno_t CALL(path_symlink)(guest target_at, uint32_t target_length, uint32_t fd, guest at, uint32_t length)
{
    struct place place;
    struct text target;
    errno_t error = guest_path(target_at, target_length, paths[1], &target);
    if (!error)
        error = find(fd, PATH_SYMLINK, at, length, NAME, 0, &place);
    if (error)
        return error;
    if (target.length == 0)
        return NOENT;
    if (target.at[0] == '/')
        return NOTCAPABLE;
    if (place.found)
        return EXIST;
    if (place.slash)
        return NOENT;
    struct inode *link = inode_new(SYMLINK);
    if (!link)
        return NOMEM;
    error = inode_reserve(link, target.length) ? SUCCESS : NOMEM;
    if (!error) {
        __builtin_memcpy(link->bytes->at, target.at, target.length);
        link->bytes->length = target.length;
        error = directory_add(place.parent, place.name, link);
    }
    if (error)
        inode_release(link);
    return error;
}

errno_t CALL(path_link)(uint32_t from_fd, uint32_t lookup, guest from, uint32_t from_length, uint32_t to_fd, guest to, uint32_t to_length)
{
    struct place source, target;
    errno_t error = find_any(from_fd, PATH_LINK_SOURCE, lookup, from, from_length, &source);
    if (!error)
        error = find(to_fd, PATH_LINK_TARGET, to, to_length, NAME, 1, &target);
    if (error)
        return error;
    if (!source.found)
        return NOENT;
    if (source.found->type == DIRECTORY)
        return PERM;
    if (target.found)
        return EXIST;
    return target.slash ? NOENT : directory_add(target.parent, target.name, source.found);
}

/* ---- Names that go ---------------------------------------------------------------------------------------------- */

errno_t CALL(path_unlink_file)(uint32_t fd, guest at, uint32_t length)
{
    struct place place;
    errno_t error = find(fd, PATH_UNLINK_FILE, at, length, NAME, 0, &place);
    if (error)
        return error;
    if (!place.found)
        return NOENT;
    if (place.found->type == DIRECTORY)
        return ISDIR;
    directory_remove(place.parent, place.index);
    return SUCCESS;
}

errno_t CALL(path_remove_directory)(uint32_t fd, guest at, uint32_t length)
{
    struct place place;
    errno_t error = find(fd, PATH_REMOVE_DIRECTORY, at, length, NAME, 0, &place);
    if (error)
        return error;
    if (!place.found)
        return NOENT;
    if (place.found->type != DIRECTORY)
        return NOTDIR;
    if (!place.parent)
        return INVAL;
    if (directory_count(place.found) > 0)
        return NOTEMPTY;
    directory_remove(place.parent, place.index);
    return SUCCESS;
}

/* Whether the one may take the other's name, as POSIX rename() has it. */
static errno_t judge_rename(const struct place *source, const struct place *target)
{
    if (!source->found)
        return NOENT;
    if (!source->parent || !target->parent)
        return BUSY;
    bool directory = source->found->type == DIRECTORY;
    for (const struct inode *above = target->parent; directory && above; above = above->parent) {
        if (above == source->found)
            return INVAL;
    }
    if (!target->found)
        return target->slash && !directory ? NOTDIR : SUCCESS;
    if (directory)
        return target->found->type != DIRECTORY ? NOTDIR : directory_count(target->found) > 0 ? NOTEMPTY : SUCCESS;
    return target->found->type == DIRECTORY ? ISDIR : SUCCESS;
}

errno_t CALL(path_rename)(uint32_t from_fd, guest from, uint32_t from_length, uint32_t to_fd, guest to, uint32_t to_length)
{
    struct place source, target;
    errno_t error = find(from_fd, PATH_RENAME_SOURCE, from, from_length, NAME, 0, &source);
    if (!error)
        error = find(to_fd, PATH_RENAME_TARGET, to, to_length, NAME, 1, &target);
    if (error)
        return error;
    if (source.found && source.found == target.found && source.parent && target.parent)
        return SUCCESS;
    error = judge_rename(&source, &target);
    if (error)
        return error;
    struct inode *inode = source.found;
    if (target.found) {
        directory_replace(target.parent, target.index, inode);
    } else {
        error = directory_add(target.parent, target.name, inode);
        if (error)
            return error;
    }
    directory_find(source.parent, source.name, &source.index); /* a new name may have moved it */
    directory_remove(source.parent, source.index);
    return SUCCESS;
}
