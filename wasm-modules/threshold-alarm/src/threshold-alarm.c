/* An alarm with hysteresis on every channel, remembered from window to window. See the README for params, fields and state. */
#include "edgenode.h"

typedef struct {
    double high, low;
    uint64_t hold_ns;
    edgenode_text channel; /* empty: all but the alarms themselves */
} settings;

/* ---- State, version 1 ------------------------------------------------------------------------------------------- */

enum { VERSION = 1 };
enum { RAISED = 1, CHANGED = 2, ABOVE = 4, ALL_FLAGS = 7 };

typedef struct {
    uint32_t version, count;
} state_head;

typedef struct {
    int64_t changed_ns; /* of the last raise or clear, with CHANGED */
    int64_t above_ns;   /* since when the values have been high, with ABOVE: held, and not raised yet */
    uint32_t flags;
    uint32_t name_length; /* the name follows, then zeros up to a multiple of 8 */
} state_entry;

typedef struct {
    edgenode_text name;
    state_entry entry;
} alarm;

static alarm *read_state(edgenode_text state, uint32_t *count)
{
    *count = 0;
    if (state.length == 0)
        return NULL;
    const state_head *head = (const state_head *)state.data;
    edgenode_require(state.length >= sizeof *head && head->version == VERSION && head->count <= state.length / sizeof(state_entry));
    alarm *alarms = edgenode_new(head->count, sizeof *alarms);
    uint64_t at = sizeof *head;
    for (; *count < head->count; ++*count) {
        edgenode_require(at + sizeof(state_entry) <= state.length);
        state_entry entry = *(const state_entry *)(state.data + at);
        edgenode_text name = {state.data + at + sizeof entry, entry.name_length};
        at += sizeof entry + edgenode_align(entry.name_length);
        edgenode_require(at <= state.length && entry.flags <= ALL_FLAGS && edgenode_is_utf8(name));
        edgenode_require((entry.flags & RAISED) == 0 || (entry.flags & (CHANGED | ABOVE)) == CHANGED);
        edgenode_require(*count == 0 || edgenode_key_before(alarms[*count - 1].name, name));
        alarms[*count] = (alarm){name, entry};
    }
    edgenode_require(at == state.length);
    return alarms;
}

static void write_alarm(edgenode_buffer *state, const alarm *alarm)
{
    edgenode_write(state, &alarm->entry, sizeof alarm->entry);
    edgenode_write(state, alarm->name.data, alarm->name.length);
    edgenode_pad(state);
    ((state_head *)state->data)->count++;
}

/* ---- One channel ------------------------------------------------------------------------------------------------ */

typedef struct {
    edgenode_buffer items;
    uint32_t count;
} alerts;

static void write_alert(alerts *alerts, edgenode_text channel, int64_t time, double value, bool raised)
{
    edgenode_map alert = edgenode_map_begin(&alerts->items);
    edgenode_map_key(&alert, EDGENODE_TEXT("value"));
    edgenode_cbor_double(&alerts->items, value);
    edgenode_map_key(&alert, EDGENODE_TEXT("raised"));
    edgenode_cbor_bool(&alerts->items, raised);
    edgenode_map_key(&alert, EDGENODE_TEXT("channel"));
    edgenode_cbor_text(&alerts->items, channel);
    edgenode_map_key(&alert, EDGENODE_TEXT("time_ns"));
    edgenode_cbor_int(&alerts->items, time);
    edgenode_map_end(&alert);
    alerts->count++;
}

/* Takes one reading; true when the alarm changed. */
static bool take(const settings *settings, state_entry *entry, int64_t time, double value)
{
    if (entry->flags & RAISED) {
        if (value > settings->low)
            return false;
        entry->flags = CHANGED;
        entry->changed_ns = time;
        return true;
    }
    if (value < settings->high) {
        entry->flags &= ~ABOVE;
        entry->above_ns = 0;
        return false;
    }
    if ((entry->flags & ABOVE) == 0) {
        entry->flags |= ABOVE;
        entry->above_ns = time;
    }
    /* Unsigned, since the difference may need all 64 bits; hence negative ones (of windows that overlap) are told apart first. */
    if (time < entry->above_ns || (uint64_t)time - (uint64_t)entry->above_ns < settings->hold_ns)
        return false;
    *entry = (state_entry){.changed_ns = time, .flags = RAISED | CHANGED, .name_length = entry->name_length};
    return true;
}

static void watch(const settings *settings, const edgenode_series *series, state_entry *entry, edgenode_buffer *summary, alerts *alerts,
                  edgenode_reply *reply)
{
    edgenode_buffer times = {0}, values = {0}; /* of the transitions */
    uint32_t count = 0, invalid = 0, raises = 0;
    double max = 0;
    for (uint32_t i = 0; i < series->count; i++) {
        double value = series->values[i];
        if (!__builtin_isfinite(value)) {
            invalid++;
            continue;
        }
        max = count++ == 0 || value > max ? value : max;
        if (!take(settings, entry, series->times[i], value))
            continue;
        bool raised = entry->flags & RAISED;
        raises += raised;
        edgenode_write(&times, &series->times[i], sizeof(int64_t));
        edgenode_write(&values, &(double){raised}, sizeof(double));
        write_alert(alerts, series->name, series->times[i], value, raised);
    }

    edgenode_map fields = edgenode_map_begin(summary);
    if (count > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("max"));
        edgenode_cbor_double(summary, max);
    }
    edgenode_map_key(&fields, EDGENODE_TEXT("count"));
    edgenode_cbor_uint(summary, count);
    edgenode_map_key(&fields, EDGENODE_TEXT("raised"));
    edgenode_cbor_bool(summary, entry->flags & RAISED);
    edgenode_map_key(&fields, EDGENODE_TEXT("raises"));
    edgenode_cbor_uint(summary, raises);
    if (invalid > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("invalid"));
        edgenode_cbor_uint(summary, invalid);
    }
    if (entry->flags & CHANGED) {
        edgenode_map_key(&fields, EDGENODE_TEXT("changed_ns"));
        edgenode_cbor_int(summary, entry->changed_ns);
    }
    edgenode_map_end(&fields);

    if (times.length > 0) {
        edgenode_buffer name = {0};
        edgenode_write(&name, series->name.data, series->name.length);
        edgenode_write(&name, ".alarm", 6);
        edgenode_reply_derived(reply, &(edgenode_series){
                                          .name = edgenode_bytes(&name),
                                          .unit = EDGENODE_TEXT("/"),
                                          .count = times.length / sizeof(int64_t),
                                          .times = (const int64_t *)times.data,
                                          .values = (const double *)values.data,
                                      });
    }
}

/* ---- The step --------------------------------------------------------------------------------------------------- */

static settings read_settings(edgenode_text body)
{
    edgenode_params params = edgenode_params_begin(body);
    double missing = __builtin_nan("");
    double hold_ms = edgenode_params_number(&params, EDGENODE_TEXT("hold_ms"), 0);
    settings settings = {
        .high = edgenode_params_number(&params, EDGENODE_TEXT("high"), missing),
        .low = edgenode_params_number(&params, EDGENODE_TEXT("low"), missing),
        .channel = edgenode_params_text(&params, EDGENODE_TEXT("channel"), (edgenode_text){0}),
    };
    edgenode_params_end(&params);
    edgenode_require(settings.low < settings.high); /* false when one is missing */
    edgenode_require(hold_ms >= 0 && hold_ms <= 9e12);
    settings.hold_ns = (uint64_t)(hold_ms * 1e6);
    return settings;
}

/* With no channel named, alarms are not watched: a job over all channels would be fed its own output, and an alarm on that. */
static bool is_watched(const settings *settings, edgenode_text name)
{
    if (settings->channel.length > 0)
        return edgenode_equal(name, settings->channel);
    return name.length < 6 || !edgenode_equal((edgenode_text){name.data + name.length - 6, 6}, EDGENODE_TEXT(".alarm"));
}

void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
{
    settings settings = read_settings(request->params);
    uint32_t known;
    const alarm *before = read_state(request->state, &known), *end = before + known;

    edgenode_buffer state = {0}, summary = {0};
    alerts alerts = {0};
    edgenode_write(&state, &(state_head){VERSION, 0}, sizeof(state_head));
    edgenode_map channels = edgenode_map_begin(&summary);
    /* State and series stand in the same order: they are merged. A channel that was silent in this window keeps its alarm. */
    for (uint32_t i = 0; i < request->series_count; i++) {
        const edgenode_series *series = &request->series[i];
        if (!is_watched(&settings, series->name))
            continue;
        while (before < end && edgenode_key_before(before->name, series->name))
            write_alarm(&state, before++);
        alarm now = {series->name, {.name_length = series->name.length}};
        if (before < end && edgenode_equal(before->name, series->name))
            now = *before++;
        edgenode_map_key(&channels, series->name);
        watch(&settings, series, &now.entry, &summary, &alerts, reply);
        write_alarm(&state, &now);
    }
    while (before < end)
        write_alarm(&state, before++);
    edgenode_map_end(&channels);

    edgenode_reply_summary(reply, edgenode_bytes(&summary));
    edgenode_reply_state(reply, edgenode_bytes(&state));
    if (alerts.count > 0) {
        edgenode_buffer body = {0};
        edgenode_cbor_array(&body, alerts.count);
        edgenode_write(&body, alerts.items.data, alerts.items.length);
        edgenode_reply_alert(reply, edgenode_bytes(&body));
    }
}
