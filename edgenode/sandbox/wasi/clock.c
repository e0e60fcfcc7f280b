#include "clock.h"

#include "bridge.h"
#include "descriptors.h"

enum { STEP = 1000, PIPE_BUF = 4096 };

static uint64_t start;   /* what the realtime clock shows at first */
static uint64_t elapsed; /* ns since then */

void clock_set(uint64_t realtime)
{
    start = realtime;
}

uint64_t clock_now(void)
{
    return start + elapsed;
}

/* Neither clock goes beyond the end of its range. */
static void advance(uint64_t time)
{
    uint64_t left = UINT64_MAX - (start > STEP ? start : STEP) - elapsed;
    elapsed += time < left ? time : left;
}

/* The others show a step more than what has elapsed: a monotonic clock at 0 is a broken one to Go's runtime. */
static uint64_t show(uint32_t clock)
{
    return clock == CLOCK_REALTIME ? start + elapsed : STEP + elapsed;
}

errno_t CALL(clock_res_get)(uint32_t clock, guest resolution)
{
    if (clock > CLOCK_LAST)
        return INVAL;
    return guest_answer(resolution, &(uint64_t){STEP}, sizeof(uint64_t));
}

errno_t CALL(clock_time_get)(uint32_t clock, uint64_t precision, guest time)
{
    (void)precision;
    if (clock > CLOCK_LAST)
        return INVAL;
    uint64_t shown = show(clock);
    errno_t error = guest_answer(time, &shown, sizeof shown);
    if (!error)
        advance(STEP);
    return error;
}

/* ---- Waiting ---------------------------------------------------------------------------------------------------- */

/* What a subscription waits for: `left` ns of virtual time, 0 when it has happened. `event` says how it went. INVAL for a type unknown. */
static errno_t look(const struct subscription *wanted, struct event *event, uint64_t *left)
{
    *event = (struct event){.userdata = wanted->userdata, .type = wanted->type};
    *left = 0;
    if (wanted->type == EVENT_CLOCK) {
        if (wanted->clock.id > CLOCK_LAST || wanted->clock.flags & ~CLOCK_ABSTIME) {
            event->error = INVAL;
        } else if (wanted->clock.flags & CLOCK_ABSTIME) {
            uint64_t now = show(wanted->clock.id);
            *left = wanted->clock.timeout > now ? wanted->clock.timeout - now : 0;
        } else {
            *left = wanted->clock.timeout;
        }
        return SUCCESS;
    }
    if (wanted->type != EVENT_FD_READ && wanted->type != EVENT_FD_WRITE)
        return INVAL;
    struct descriptor *descriptor;
    event->error = (uint16_t)descriptor_find(wanted->fd, ANY_TYPE, POLL_FD_READWRITE, &descriptor);
    if (event->error)
        return SUCCESS;
    uint64_t length = descriptor->inode->bytes->length;
    if (wanted->type == EVENT_FD_WRITE)
        event->bytes = PIPE_BUF;
    else if (descriptor->inode->type == REGULAR && descriptor->offset < length)
        event->bytes = length - descriptor->offset;
    return SUCCESS;
}

errno_t CALL(poll_oneoff)(guest subscriptions, guest events, uint32_t count, guest happened)
{
    if (count == 0)
        return INVAL;
    if (!guest_has(subscriptions, (uint64_t)count * sizeof(struct subscription)) ||
        !guest_has(events, (uint64_t)count * sizeof(struct event)) || !guest_has(happened, sizeof count))
        return FAULT;

    uint64_t least = UINT64_MAX, left;
    struct subscription wanted;
    struct event event;
    for (uint32_t i = 0; i < count; i++) {
        guest_load(&wanted, subscriptions + i * sizeof wanted, sizeof wanted);
        errno_t error = look(&wanted, &event, &left);
        if (error)
            return error;
        least = left < least ? left : least;
    }
    uint32_t written = 0;
    for (uint32_t i = 0; i < count; i++) {
        guest_load(&wanted, subscriptions + i * sizeof wanted, sizeof wanted);
        if (look(&wanted, &event, &left) == SUCCESS && left <= least)
            guest_store(events + written++ * sizeof event, &event, sizeof event);
    }
    advance(least);
    guest_store(happened, &written, sizeof written);
    return SUCCESS;
}
