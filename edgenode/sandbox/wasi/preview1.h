/* WASI preview 1 as wasi_snapshot_preview1.witx defines it: what this implementation needs of its numbers and layouts. */
#ifndef PREVIEW1_H
#define PREVIEW1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A function of the interface, exported under its name there. */
#define CALL(name) __attribute__((export_name(#name))) name

typedef uint32_t errno_t;
enum {
    SUCCESS = 0,
    BADF = 8,
    BUSY = 10,
    EXIST = 20,
    FAULT = 21,
    FBIG = 22,
    INVAL = 28,
    ISDIR = 31,
    LOOP = 32,
    MFILE = 33,
    NAMETOOLONG = 37,
    NOENT = 44,
    NOMEM = 48,
    NOSPC = 51,
    NOTDIR = 54,
    NOTEMPTY = 55,
    NOTSOCK = 57,
    NOTSUP = 58,
    OVERFLOW = 61,
    PERM = 63,
    SPIPE = 70,
    NOTCAPABLE = 76,
};

enum filetype { STREAM = 0 /* "unknown", as a pipe is */, DIRECTORY = 3, REGULAR = 4, SYMLINK = 7 };

typedef uint64_t rights;
#define FD_DATASYNC (UINT64_C(1) << 0)
#define FD_READ (UINT64_C(1) << 1)
#define FD_SEEK (UINT64_C(1) << 2)
#define FD_FDSTAT_SET_FLAGS (UINT64_C(1) << 3)
#define FD_SYNC (UINT64_C(1) << 4)
#define FD_TELL (UINT64_C(1) << 5)
#define FD_WRITE (UINT64_C(1) << 6)
#define FD_ADVISE (UINT64_C(1) << 7)
#define FD_ALLOCATE (UINT64_C(1) << 8)
#define PATH_CREATE_DIRECTORY (UINT64_C(1) << 9)
#define PATH_CREATE_FILE (UINT64_C(1) << 10)
#define PATH_LINK_SOURCE (UINT64_C(1) << 11)
#define PATH_LINK_TARGET (UINT64_C(1) << 12)
#define PATH_OPEN (UINT64_C(1) << 13)
#define FD_READDIR (UINT64_C(1) << 14)
#define PATH_READLINK (UINT64_C(1) << 15)
#define PATH_RENAME_SOURCE (UINT64_C(1) << 16)
#define PATH_RENAME_TARGET (UINT64_C(1) << 17)
#define PATH_FILESTAT_GET (UINT64_C(1) << 18)
#define PATH_FILESTAT_SET_SIZE (UINT64_C(1) << 19)
#define PATH_FILESTAT_SET_TIMES (UINT64_C(1) << 20)
#define FD_FILESTAT_GET (UINT64_C(1) << 21)
#define FD_FILESTAT_SET_SIZE (UINT64_C(1) << 22)
#define FD_FILESTAT_SET_TIMES (UINT64_C(1) << 23)
#define PATH_SYMLINK (UINT64_C(1) << 24)
#define PATH_REMOVE_DIRECTORY (UINT64_C(1) << 25)
#define PATH_UNLINK_FILE (UINT64_C(1) << 26)
#define POLL_FD_READWRITE (UINT64_C(1) << 27)

enum { FDFLAGS_APPEND = 1, FDFLAGS_ALL = 31 };
enum { OFLAGS_CREAT = 1, OFLAGS_DIRECTORY = 2, OFLAGS_EXCL = 4, OFLAGS_TRUNC = 8, OFLAGS_ALL = 15 };
enum { LOOKUP_SYMLINK_FOLLOW = 1 };
enum { FSTFLAGS_ATIM = 1, FSTFLAGS_ATIM_NOW = 2, FSTFLAGS_MTIM = 4, FSTFLAGS_MTIM_NOW = 8, FSTFLAGS_ALL = 15 };
enum { WHENCE_SET = 0, WHENCE_CUR = 1, WHENCE_END = 2 };
enum { ADVICE_LAST = 5 };
enum { CLOCK_REALTIME = 0, CLOCK_LAST = 3 };
enum { EVENT_CLOCK = 0, EVENT_FD_READ = 1, EVENT_FD_WRITE = 2, CLOCK_ABSTIME = 1 };

struct fdstat {
    uint8_t filetype;
    uint16_t flags;
    rights base, inheriting;
};

struct filestat {
    uint64_t device, number;
    uint8_t filetype;
    uint64_t links, size, accessed, modified, changed;
};

struct prestat {
    uint32_t tag; /* 0: a directory */
    uint32_t name_length;
};

struct dirent {
    uint64_t next, number;
    uint32_t name_length;
    uint8_t filetype;
};

struct iovec {
    uint32_t at, length;
};

struct subscription {
    uint64_t userdata;
    uint8_t type;
    union {
        struct {
            uint32_t id;
            uint64_t timeout, precision;
            uint16_t flags;
        } clock;
        uint32_t fd;
    };
};

struct event {
    uint64_t userdata;
    uint16_t error;
    uint8_t type;
    uint64_t bytes;
    uint16_t flags;
};

_Static_assert(sizeof(struct fdstat) == 24 && sizeof(struct filestat) == 64 && sizeof(struct prestat) == 8, "preview 1 layout");
_Static_assert(sizeof(struct dirent) == 24 && sizeof(struct subscription) == 48 && sizeof(struct event) == 32, "preview 1 layout");

struct text {
    const char *at;
    uint32_t length;
};

#endif
