"""Where things are in the memory and the tables of a generated program."""

PAGE_BYTES = 65536
PAGES = 4  # that the memory may grow to

ARENA = 4096  # bytes from 0 on, in which most accesses fall
REQUEST_AT = ARENA
REPLY_AT = 2 * ARENA
SEGMENT = 64  # bytes of the data segment $passive

SLOTS = 8  # of each table, at first
EMPTY, TAKEN = SLOTS - 1, SLOTS - 2  # the slots of $fixed that are so in every program
ROOM = 8  # slots that $loose may have more

GLOBALS = 2  # of each type
