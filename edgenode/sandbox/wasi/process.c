#include "bridge.h"
#include "descriptors.h"
#include "image.h"
#include "stage.h"

/* ---- Arguments and environment ---------------------------------------------------------------------------------- */

static errno_t measure(uint32_t kind, guest count_at, guest size_at)
{
    uint32_t count = 0, size = 0;
    struct record record;
    for (const uint8_t *at = NULL; image_next(&at, &record);) {
        if (record.kind == kind)
            count++, size += record.content.length + 1;
    }
    if (!guest_has(count_at, sizeof count) || !guest_has(size_at, sizeof size))
        return FAULT;
    guest_store(count_at, &count, sizeof count);
    guest_store(size_at, &size, sizeof size);
    return SUCCESS;
}

/* Writes the strings of a kind to `to`, each with a NUL behind it, and their addresses to `list`. */
static errno_t list(uint32_t kind, guest list_at, guest to)
{
    struct record record;
    for (const uint8_t *at = NULL; image_next(&at, &record);) {
        if (record.kind != kind)
            continue;
        uint32_t length = record.content.length;
        if (!guest_has(list_at, sizeof to) || !guest_has(to, (uint64_t)length + 1))
            return FAULT;
        guest_store(list_at, &to, sizeof to);
        guest_store(to, record.content.at, length);
        guest_store(to + length, "", 1);
        list_at += sizeof to, to += length + 1;
    }
    return SUCCESS;
}

errno_t CALL(args_sizes_get)(guest count, guest size)
{
    return measure(ARGUMENT, count, size);
}

errno_t CALL(args_get)(guest list_at, guest to)
{
    return list(ARGUMENT, list_at, to);
}

errno_t CALL(environ_sizes_get)(guest count, guest size)
{
    return measure(VARIABLE, count, size);
}

errno_t CALL(environ_get)(guest list_at, guest to)
{
    return list(VARIABLE, list_at, to);
}

/* ---- The end ---------------------------------------------------------------------------------------------------- */

_Noreturn void CALL(proc_exit)(uint32_t code)
{
    finish();
    result.exit_code = code;
    result.exited = 1;
    __builtin_trap();
}

/* There is nobody to handle a signal. */
errno_t CALL(proc_raise)(uint32_t signal)
{
    (void)signal;
    return NOTSUP;
}

errno_t CALL(sched_yield)(void)
{
    return SUCCESS;
}

/* ---- Sockets: no descriptor is one ------------------------------------------------------------------------------- */

static errno_t no_socket(uint32_t fd)
{
    struct descriptor *descriptor;
    errno_t error = descriptor_find(fd, ANY_TYPE, 0, &descriptor);
    return error ? error : NOTSOCK;
}

errno_t CALL(sock_accept)(uint32_t fd, uint32_t flags, guest answer)
{
    (void)flags, (void)answer;
    return no_socket(fd);
}

errno_t CALL(sock_recv)(uint32_t fd, guest at, uint32_t count, uint32_t flags, guest length, guest answer_flags)
{
    (void)at, (void)count, (void)flags, (void)length, (void)answer_flags;
    return no_socket(fd);
}

errno_t CALL(sock_send)(uint32_t fd, guest at, uint32_t count, uint32_t flags, guest length)
{
    (void)at, (void)count, (void)flags, (void)length;
    return no_socket(fd);
}

errno_t CALL(sock_shutdown)(uint32_t fd, uint32_t how)
{
    (void)how;
    return no_socket(fd);
}
