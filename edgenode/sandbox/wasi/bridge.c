#include "bridge.h"

/*
 * bridge.wasm, which sees both memories, puts its functions into the slots 1 to 3 of this module's table once the guest exists.
 * Until then these stand there, in this order: the linker fills the table in the order in which addresses are taken.
 */
static void no_load(void *to, guest from, uint32_t length)
{
    (void)to, (void)from, (void)length;
    __builtin_trap();
}

static void no_store(guest to, const void *from, uint32_t length)
{
    (void)to, (void)from, (void)length;
    __builtin_trap();
}

static uint32_t no_pages(void)
{
    __builtin_trap();
}

static const struct {
    void (*load)(void *, guest, uint32_t);
    void (*store)(guest, const void *, uint32_t);
    uint32_t (*pages)(void);
} reserved __attribute__((used)) = {no_load, no_store, no_pages};

/* The slots by number, so that the compiler cannot call what stands in them at first. */
#define BRIDGE_LOAD ((void (*)(void *, guest, uint32_t))1)
#define BRIDGE_STORE ((void (*)(guest, const void *, uint32_t))2)
#define BRIDGE_PAGES ((uint32_t (*)(void))3)

bool guest_has(guest at, uint64_t length)
{
    return length == 0 || (length <= UINT32_MAX && at + length <= (uint64_t)BRIDGE_PAGES() << 16);
}

void guest_load(void *to, guest from, uint32_t length)
{
    if (length > 0)
        BRIDGE_LOAD(to, from, length);
}

void guest_store(guest to, const void *from, uint32_t length)
{
    if (length > 0)
        BRIDGE_STORE(to, from, length);
}

errno_t guest_answer(guest to, const void *from, uint32_t length)
{
    if (!guest_has(to, length))
        return FAULT;
    guest_store(to, from, length);
    return SUCCESS;
}

errno_t guest_path(guest at, uint32_t length, char buffer[PATH_LIMIT], struct text *path)
{
    if (!guest_has(at, length))
        return FAULT;
    if (length > PATH_LIMIT)
        return NAMETOOLONG;
    guest_load(buffer, at, length);
    for (uint32_t i = 0; i < length; i++) {
        if (buffer[i] == 0)
            return INVAL;
    }
    *path = (struct text){buffer, length};
    return SUCCESS;
}
