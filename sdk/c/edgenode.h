/*
 * The edgenode guest SDK for C11: everything between the `step` ABI (docs/step-abi.md, version 1) and one function of yours.
 *
 *     #include "edgenode.h"
 *
 *     void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
 *     {
 *         edgenode_buffer summary = {0};
 *         edgenode_map map = edgenode_map_begin(&summary);
 *         edgenode_map_key(&map, EDGENODE_TEXT("channels"));
 *         edgenode_cbor_uint(&summary, request->series_count);
 *         edgenode_map_end(&map);
 *         edgenode_reply_summary(reply, edgenode_bytes(&summary));
 *     }
 *
 * Include it in exactly one C file: it defines the exports. It needs no C library and imports nothing.
 *
 * A step fails by trapping; there is no other error channel. Whatever is wrong with a request, its params or its memory
 * traps here, so that what edgenode_run sees is whole. Memory is never freed: every step gets a fresh instance.
 */
#ifndef EDGENODE_H
#define EDGENODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- Bytes and memory ------------------------------------------------------------------------------------------- */

typedef struct {
    const uint8_t *data;
    uint32_t length;
} edgenode_text; /* UTF-8 (or any bytes, for state), without a closing zero */

#define EDGENODE_TEXT(literal) ((edgenode_text){(const uint8_t *)(literal), sizeof(literal) - 1})

/* Ends the step with a trap unless `holds`. */
static inline void edgenode_require(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static inline uint64_t edgenode_align(uint64_t length)
{
    return (length + 7) & ~UINT64_C(7);
}

extern uint8_t __heap_base; /* the linker's: where data and stack end */

/* `length` bytes at a multiple of 8, all zero since no byte is given twice; NULL when memory cannot grow that far. */
__attribute__((export_name("edgenode_alloc"))) void *edgenode_alloc(uint32_t length)
{
    static uint64_t next; /* 64 bits: the end may be 2^32 itself */
    if (next == 0)
        next = edgenode_align((uintptr_t)&__heap_base);
    uint64_t end = next + edgenode_align(length);
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if (end > have && __builtin_wasm_memory_grow(0, (size_t)((end - have + 0xffff) >> 16)) == SIZE_MAX)
        return NULL;
    void *given = (void *)(uintptr_t)next;
    next = end;
    return given;
}

/* An array of `count` items of `size` bytes, zeroed; traps when there is no memory for it. */
static inline void *edgenode_new(uint64_t count, uint32_t size)
{
    edgenode_require(count <= UINT32_MAX / size);
    void *given = edgenode_alloc((uint32_t)count * size);
    edgenode_require(given != NULL);
    return given;
}

/* Bytes that grow at their end. Starts as {0}; `data` is at a multiple of 8. */
typedef struct {
    uint8_t *data;
    uint32_t length, capacity;
} edgenode_buffer;

static inline edgenode_text edgenode_bytes(const edgenode_buffer *buffer)
{
    return (edgenode_text){buffer->data, buffer->length};
}

__attribute__((noinline)) static void edgenode_write(edgenode_buffer *buffer, const void *data, uint32_t length)
{
    uint64_t end = (uint64_t)buffer->length + length;
    if (end > buffer->capacity) {
        uint64_t capacity = end < 256 ? 512 : 2 * end;
        uint8_t *moved = edgenode_new(capacity, 1);
        __builtin_memcpy(moved, buffer->data, buffer->length);
        *buffer = (edgenode_buffer){moved, buffer->length, (uint32_t)capacity};
    }
    __builtin_memcpy(buffer->data + buffer->length, data, length);
    buffer->length = (uint32_t)end;
}

/* Zeros up to the next multiple of 8. */
static inline void edgenode_pad(edgenode_buffer *buffer)
{
    edgenode_write(buffer, &(uint64_t){0}, (uint32_t)(edgenode_align(buffer->length) - buffer->length));
}

/* ---- Text ------------------------------------------------------------------------------------------------------- */

static inline bool edgenode_equal(edgenode_text a, edgenode_text b)
{
    if (a.length != b.length)
        return false;
    for (uint32_t i = 0; i < a.length; i++)
        if (a.data[i] != b.data[i])
            return false;
    return true;
}

/* The order of text keys in deterministic CBOR (RFC 8949 §4.2.1): shorter first, then by bytes. */
static inline bool edgenode_key_before(edgenode_text a, edgenode_text b)
{
    if (a.length != b.length)
        return a.length < b.length;
    for (uint32_t i = 0; i < a.length; i++)
        if (a.data[i] != b.data[i])
            return a.data[i] < b.data[i];
    return false;
}

/* RFC 3629: no overlong form, no surrogate, nothing beyond U+10FFFF. */
static inline bool edgenode_is_utf8(edgenode_text text)
{
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    for (uint32_t i = 0; i < text.length;) {
        uint8_t lead = text.data[i++];
        if (lead < 0x80)
            continue;
        uint32_t more = lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
        if (lead < 0xc2 || lead > 0xf4 || text.length - i < more)
            return false;
        uint32_t point = lead & (0x3f >> more);
        for (uint32_t end = i + more; i < end; i++) {
            if ((text.data[i] & 0xc0) != 0x80)
                return false;
            point = point << 6 | (text.data[i] & 0x3f);
        }
        if (point < least[more] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
            return false;
    }
    return true;
}

/* ---- The request ------------------------------------------------------------------------------------------------ */

typedef struct {
    int64_t start_ns, end_ns; /* the window, ns since 1970: start inclusive, end exclusive */
    uint64_t step;            /* in the job, from 0 */
    uint32_t revision;        /* of this window, from 0 */
    uint32_t series_count;
    uint64_t expected; /* samples; UINT64_MAX when not known */
    uint64_t received, late, dropped;
    uint8_t seed[32];
} edgenode_context;

_Static_assert(sizeof(edgenode_context) == 96, "the layout of the ABI");

typedef struct {
    edgenode_text name, unit;
    uint32_t count;
    const int64_t *times; /* ns since 1970, ascending; read in place */
    const double *values;
} edgenode_series;

typedef struct {
    const edgenode_context *context;
    edgenode_text params, state;   /* empty when absent */
    const edgenode_series *series; /* in the order of CBOR map keys: a map of channels can be written in one pass */
    uint32_t series_count;
} edgenode_request;

enum {
    EDGENODE_CONTEXT = 1,
    EDGENODE_PARAMS = 2,
    EDGENODE_STATE = 3,
    EDGENODE_SERIES = 16,
    EDGENODE_SUMMARY = 32,
    EDGENODE_NEXT_STATE = 33,
    EDGENODE_DERIVED = 34,
    EDGENODE_ALERT = 35,
};

typedef struct {
    uint32_t tag, length;
} edgenode_section_head;

typedef struct {
    uint32_t count;
    uint16_t name_length, unit_length;
} edgenode_series_head;

static inline edgenode_series edgenode_read_series(edgenode_text body)
{
    edgenode_require(body.length >= sizeof(edgenode_series_head));
    const edgenode_series_head *head = (const edgenode_series_head *)body.data;
    const uint8_t *name = body.data + sizeof *head;
    uint64_t columns = edgenode_align(sizeof *head + (uint64_t)head->name_length + head->unit_length);
    edgenode_require(body.length == columns + UINT64_C(16) * head->count);
    const int64_t *times = (const int64_t *)(body.data + columns);
    for (uint32_t i = 1; i < head->count; i++)
        edgenode_require(times[i - 1] <= times[i]);
    edgenode_series series = {
        .name = {name, head->name_length},
        .unit = {name + head->name_length, head->unit_length},
        .count = head->count,
        .times = times,
        .values = (const double *)(times + head->count),
    };
    edgenode_require(edgenode_is_utf8(series.name) && edgenode_is_utf8(series.unit));
    return series;
}

static inline edgenode_request edgenode_read_request(const uint8_t *data, uint32_t length)
{
    edgenode_request request = {0};
    edgenode_series *series = NULL;
    edgenode_require((uintptr_t)data % 8 == 0 && length % 8 == 0);
    while (length > 0) {
        const edgenode_section_head *head = (const edgenode_section_head *)data;
        uint64_t whole = sizeof *head + edgenode_align(head->length);
        edgenode_require(whole <= length && (head->tag == EDGENODE_CONTEXT || request.context != NULL));
        edgenode_text body = {data + sizeof *head, head->length};
        switch (head->tag) {
        case EDGENODE_CONTEXT:
            edgenode_require(request.context == NULL && body.length == sizeof(edgenode_context));
            request.context = (const edgenode_context *)body.data;
            edgenode_require(request.context->series_count <= length / sizeof(edgenode_section_head));
            request.series = series = edgenode_new(request.context->series_count, sizeof *series);
            break;
        case EDGENODE_PARAMS:
            edgenode_require(request.params.data == NULL);
            request.params = body;
            break;
        case EDGENODE_STATE:
            edgenode_require(request.state.data == NULL);
            request.state = body;
            break;
        case EDGENODE_SERIES: {
            edgenode_require(request.series_count < request.context->series_count);
            edgenode_series next = edgenode_read_series(body);
            /* By insertion: series come sorted by name, and a gateway has hundreds of them, not millions. */
            uint32_t at = request.series_count++;
            for (; at > 0 && !edgenode_key_before(series[at - 1].name, next.name); at--) {
                edgenode_require(!edgenode_equal(series[at - 1].name, next.name));
                series[at] = series[at - 1];
            }
            series[at] = next;
            break;
        }
        default: /* a later version's: skipped, as the ABI asks */
            break;
        }
        data += whole;
        length -= (uint32_t)whole;
    }
    edgenode_require(request.context != NULL && request.series_count == request.context->series_count);
    return request;
}

/* ---- The reply -------------------------------------------------------------------------------------------------- */

typedef struct {
    edgenode_buffer sections;
    uint64_t given; /* a bit for each tag that may stand once */
} edgenode_reply;

static inline void edgenode_reply_once(edgenode_reply *reply, uint32_t tag, edgenode_text body)
{
    edgenode_require((reply->given >> tag & 1) == 0);
    reply->given |= UINT64_C(1) << tag;
    edgenode_write(&reply->sections, &(edgenode_section_head){tag, body.length}, sizeof(edgenode_section_head));
    edgenode_write(&reply->sections, body.data, body.length);
    edgenode_pad(&reply->sections);
}

/* The answer, in the media type of the manifest's `output`. At most once. */
static inline void edgenode_reply_summary(edgenode_reply *reply, edgenode_text body)
{
    edgenode_reply_once(reply, EDGENODE_SUMMARY, body);
}

/* The next state: not called, the state stays; an empty one clears it. At most once. */
static inline void edgenode_reply_state(edgenode_reply *reply, edgenode_text body)
{
    edgenode_reply_once(reply, EDGENODE_NEXT_STATE, body);
}

/* For the alert outputs, in the media type of the manifest's `output`. At most once. */
static inline void edgenode_reply_alert(edgenode_reply *reply, edgenode_text body)
{
    edgenode_reply_once(reply, EDGENODE_ALERT, body);
}

/* A series to write back to the node's store. May be called for many channels. */
static inline void edgenode_reply_derived(edgenode_reply *reply, const edgenode_series *series)
{
    edgenode_require(series->name.length <= UINT16_MAX && series->unit.length <= UINT16_MAX);
    edgenode_series_head head = {series->count, (uint16_t)series->name.length, (uint16_t)series->unit.length};
    uint64_t length = edgenode_align(sizeof head + (uint64_t)head.name_length + head.unit_length) + UINT64_C(16) * head.count;
    edgenode_require(length <= UINT32_MAX);
    edgenode_buffer *out = &reply->sections;
    edgenode_write(out, &(edgenode_section_head){EDGENODE_DERIVED, (uint32_t)length}, sizeof(edgenode_section_head));
    edgenode_write(out, &head, sizeof head);
    edgenode_write(out, series->name.data, series->name.length);
    edgenode_write(out, series->unit.data, series->unit.length);
    edgenode_pad(out);
    edgenode_write(out, series->times, 8 * series->count);
    edgenode_write(out, series->values, 8 * series->count);
}

/* What the author writes. */
void edgenode_run(const edgenode_request *request, edgenode_reply *reply);

__attribute__((export_name("edgenode_step"))) uint64_t edgenode_step(const uint8_t *data, uint32_t length)
{
    edgenode_request request = edgenode_read_request(data, length);
    edgenode_reply reply = {0};
    edgenode_run(&request, &reply);
    return (uint64_t)(uintptr_t)reply.sections.data << 32 | reply.sections.length;
}

/* ---- CBOR ------------------------------------------------------------------------------------------------------- */

/*
 * Deterministic encoding (RFC 8949 §4.2.1) but for one rule: a float is always binary64, so that a field has one width.
 * Every NaN becomes the same one.
 */

static inline uint32_t edgenode_cbor_head(uint8_t head[9], uint8_t major, uint64_t argument)
{
    uint32_t width = argument < 24 ? 0 : argument <= UINT8_MAX ? 1 : argument <= UINT16_MAX ? 2 : argument <= UINT32_MAX ? 4 : 8;
    head[0] = (uint8_t)(major << 5 | (width == 0 ? argument : 24u + (uint32_t)__builtin_ctz(width)));
    for (uint32_t i = 0; i < width; i++)
        head[1 + i] = (uint8_t)(argument >> 8 * (width - 1 - i));
    return 1 + width;
}

static inline void edgenode_cbor_item(edgenode_buffer *out, uint8_t major, uint64_t argument)
{
    uint8_t head[9];
    edgenode_write(out, head, edgenode_cbor_head(head, major, argument));
}

static inline void edgenode_cbor_uint(edgenode_buffer *out, uint64_t value)
{
    edgenode_cbor_item(out, 0, value);
}

static inline void edgenode_cbor_int(edgenode_buffer *out, int64_t value)
{
    edgenode_cbor_item(out, value < 0, (uint64_t)(value < 0 ? ~value : value));
}

static inline void edgenode_cbor_text(edgenode_buffer *out, edgenode_text value)
{
    edgenode_cbor_item(out, 3, value.length);
    edgenode_write(out, value.data, value.length);
}

/* The head of an array: write `count` items after it. */
static inline void edgenode_cbor_array(edgenode_buffer *out, uint64_t count)
{
    edgenode_cbor_item(out, 4, count);
}

static inline void edgenode_cbor_bool(edgenode_buffer *out, bool value)
{
    edgenode_cbor_item(out, 7, value ? 21 : 20);
}

static inline void edgenode_cbor_double(edgenode_buffer *out, double value)
{
    uint64_t bits = UINT64_C(0x7ff8000000000000);
    if (value == value)
        __builtin_memcpy(&bits, &value, sizeof bits);
    bits = __builtin_bswap64(bits);
    edgenode_write(out, &(uint8_t){0xfb}, 1);
    edgenode_write(out, &bits, sizeof bits);
}

/*
 * A map counts its own entries: begin, then a key and one item for each, then end. Maps nest.
 * Keys come in the order of edgenode_key_before; the wrong order, or a key twice, traps.
 */
typedef struct {
    edgenode_buffer *out;
    edgenode_text last;
    uint32_t start, count;
} edgenode_map;

static inline edgenode_map edgenode_map_begin(edgenode_buffer *out)
{
    return (edgenode_map){.out = out, .start = out->length};
}

static inline void edgenode_map_key(edgenode_map *map, edgenode_text key)
{
    edgenode_require(map->count == 0 || edgenode_key_before(map->last, key));
    map->last = key;
    map->count++;
    edgenode_cbor_text(map->out, key);
}

static inline void edgenode_map_end(edgenode_map *map)
{
    uint8_t head[9];
    uint32_t width = edgenode_cbor_head(head, 5, map->count);
    edgenode_write(map->out, head, width); /* makes room; then the entries move up and the head goes before them */
    uint8_t *start = map->out->data + map->start;
    __builtin_memmove(start + width, start, map->out->length - map->start - width);
    __builtin_memcpy(start, head, width);
}

/* ---- Params ----------------------------------------------------------------------------------------------------- */

/*
 * Params are one flat JSON object (RFC 8259): its values are numbers, strings, booleans or arrays of numbers, at most
 * EDGENODE_PARAMS_MAX of them. Empty params are an empty object. Everything else traps: bad JSON, null, a nested object,
 * a key twice, a value of the wrong type, a number beyond binary64 or of more than 64 digits, and, at
 * edgenode_params_end, a key that nobody asked for: a misspelt name must not pass for its default.
 *
 *     edgenode_params params = edgenode_params_begin(request->params);
 *     double high = edgenode_params_number(&params, EDGENODE_TEXT("high"), 80.0);
 *     edgenode_params_end(&params);
 */

enum { EDGENODE_PARAMS_MAX = 32 };

typedef struct {
    const double *values;
    uint32_t count;
} edgenode_numbers;

typedef struct {
    edgenode_text key;
    enum { EDGENODE_NUMBER, EDGENODE_STRING, EDGENODE_BOOL, EDGENODE_NUMBERS } type;
    bool asked;
    union {
        double number;
        edgenode_text text;
        bool flag;
        edgenode_numbers numbers;
    };
} edgenode_param;

typedef struct {
    const uint8_t *at, *end; /* the JSON that is left */
    uint32_t count;
    edgenode_param param[EDGENODE_PARAMS_MAX];
} edgenode_params;

/* The next byte, 0 at the end (no JSON token holds a 0). */
static inline uint8_t edgenode_json_peek(const edgenode_params *json)
{
    return json->at < json->end ? *json->at : 0;
}

static inline bool edgenode_json_take(edgenode_params *json, uint8_t byte)
{
    if (edgenode_json_peek(json) != byte || byte == 0)
        return false;
    json->at++;
    return true;
}

static inline void edgenode_json_space(edgenode_params *json)
{
    for (uint8_t byte; byte = edgenode_json_peek(json), byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';)
        json->at++;
}

/* Takes `byte` and the white space on both sides of it. */
static inline bool edgenode_json_mark(edgenode_params *json, uint8_t byte)
{
    edgenode_json_space(json);
    if (!edgenode_json_take(json, byte))
        return false;
    edgenode_json_space(json);
    return true;
}

/* A natural number of up to 2,048 bits, the lowest 32 first; `length` is how many of them are in use. */
typedef struct {
    uint32_t limb[64], length;
} edgenode_natural;

static inline void edgenode_natural_times_ten_plus(edgenode_natural *n, uint32_t digit)
{
    uint64_t carry = digit;
    for (uint32_t i = 0; i < n->length; i++, carry >>= 32) {
        carry += UINT64_C(10) * n->limb[i];
        n->limb[i] = (uint32_t)carry;
    }
    if (carry != 0)
        n->limb[n->length++] = (uint32_t)carry;
}

/* Divides by ten and returns the remainder. */
static inline uint32_t edgenode_natural_tenth(edgenode_natural *n)
{
    uint64_t rest = 0;
    for (uint32_t i = n->length; i-- > 0;) {
        rest = rest << 32 | n->limb[i];
        n->limb[i] = (uint32_t)(rest / 10);
        rest %= 10;
    }
    return (uint32_t)rest;
}

static inline uint32_t edgenode_natural_bit(const edgenode_natural *n, int32_t at)
{
    return at < 0 ? 0 : n->limb[at / 32] >> at % 32 & 1;
}

/*
 * digits * 10^exponent, correctly rounded (to nearest, ties to even), by exact arithmetic and without tables.
 * digits < 10^64. Traps when it is beyond binary64.
 */
static inline double edgenode_decimal(edgenode_natural digits, int32_t exponent)
{
    if (digits.length == 0 || exponent < -400)
        return 0; /* below 10^64 * 10^-401: far less than half of the least subnormal */
    edgenode_require(exponent <= 308);
    /* For a negative exponent the value is (digits * 2^shift) / 10^-exponent * 2^-shift; 1,408 = 44 * 32 bits are what 10^400
       takes away, and 79 more than none. */
    int32_t shift = 0;
    bool inexact = false;
    if (exponent < 0) {
        shift = 44 * 32;
        __builtin_memmove(digits.limb + 44, digits.limb, digits.length * sizeof *digits.limb);
        __builtin_memset(digits.limb, 0, 44 * sizeof *digits.limb);
        digits.length += 44;
    }
    for (; exponent > 0; exponent--)
        edgenode_natural_times_ten_plus(&digits, 0);
    for (; exponent < 0; exponent++)
        inexact |= edgenode_natural_tenth(&digits) != 0;

    int32_t top = (int32_t)digits.length * 32 - 1;
    while (edgenode_natural_bit(&digits, top) == 0)
        top--;
    int32_t low = top - 52 > shift - 1074 ? top - 52 : shift - 1074; /* the bit that becomes the last of the significand */
    uint64_t significand = 0;
    for (int32_t i = top; i >= low; i--)
        significand = significand << 1 | edgenode_natural_bit(&digits, i);
    for (int32_t i = low - 2; i >= 0 && !inexact; i--)
        inexact = edgenode_natural_bit(&digits, i) != 0;
    if (low <= top + 1 && edgenode_natural_bit(&digits, low - 1) != 0 && (inexact || (significand & 1) != 0))
        significand++;
    /* A significand of 53 bits carries its top bit into the exponent field: hence one less here, and none for a subnormal. */
    uint64_t bits = ((uint64_t)(low - (shift - 1074)) << 52) + significand;
    edgenode_require(bits < UINT64_C(0x7ff) << 52);
    double value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/* Takes one decimal digit; -1 when there is none. */
static inline int32_t edgenode_json_digit(edgenode_params *json)
{
    uint8_t byte = edgenode_json_peek(json);
    return byte >= '0' && byte <= '9' ? *json->at++ - '0' : -1;
}

static inline double edgenode_json_number(edgenode_params *json)
{
    bool negative = edgenode_json_take(json, '-');
    edgenode_natural digits = {0};
    uint32_t taken = 0;
    int32_t exponent = 0, digit;
    if (!edgenode_json_take(json, '0')) {
        for (; (digit = edgenode_json_digit(json)) >= 0; taken++) {
            edgenode_require(taken < 64);
            edgenode_natural_times_ten_plus(&digits, (uint32_t)digit);
        }
        edgenode_require(taken > 0);
    }
    if (edgenode_json_take(json, '.')) {
        for (; (digit = edgenode_json_digit(json)) >= 0; taken++, exponent--) {
            edgenode_require(taken < 64);
            edgenode_natural_times_ten_plus(&digits, (uint32_t)digit);
        }
        edgenode_require(exponent < 0);
    }
    if (edgenode_json_take(json, 'e') || edgenode_json_take(json, 'E')) {
        bool minus = edgenode_json_take(json, '-');
        if (!minus)
            edgenode_json_take(json, '+');
        int32_t power = edgenode_json_digit(json);
        edgenode_require(power >= 0);
        while ((digit = edgenode_json_digit(json)) >= 0)
            power = power < 10000 ? 10 * power + digit : power; /* already far beyond both ends */
        exponent += minus ? -power : power;
    }
    double value = edgenode_decimal(digits, exponent);
    return negative ? -value : value;
}

static inline edgenode_numbers edgenode_json_numbers(edgenode_params *json)
{
    edgenode_buffer values = {0};
    edgenode_require(edgenode_json_mark(json, '['));
    if (!edgenode_json_mark(json, ']')) {
        do {
            double value = edgenode_json_number(json);
            edgenode_write(&values, &value, sizeof value);
        } while (edgenode_json_mark(json, ','));
        edgenode_require(edgenode_json_mark(json, ']'));
    }
    return (edgenode_numbers){(const double *)values.data, values.length / sizeof(double)};
}

static inline uint32_t edgenode_json_hex(edgenode_params *json)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int32_t digit = edgenode_json_digit(json);
        if (digit < 0) {
            uint8_t letter = edgenode_json_peek(json) | 0x20;
            edgenode_require(letter >= 'a' && letter <= 'f');
            digit = letter - 'a' + 10;
            json->at++;
        }
        value = value << 4 | (uint32_t)digit;
    }
    return value;
}

static inline void edgenode_json_escape(edgenode_params *json, edgenode_buffer *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    for (uint32_t i = 0; i < sizeof from - 1; i++)
        if (edgenode_json_take(json, (uint8_t)from[i])) {
            edgenode_write(out, &to[i], 1);
            return;
        }
    edgenode_require(edgenode_json_take(json, 'u'));
    uint32_t point = edgenode_json_hex(json);
    if (point >= 0xd800 && point < 0xe000) { /* the first of a surrogate pair; alone it is no character */
        edgenode_require(point < 0xdc00 && edgenode_json_take(json, '\\') && edgenode_json_take(json, 'u'));
        uint32_t second = edgenode_json_hex(json);
        edgenode_require(second >= 0xdc00 && second < 0xe000);
        point = 0x10000 + ((point - 0xd800) << 10) + (second - 0xdc00);
    }
    uint32_t more = point < 0x80 ? 0 : point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    edgenode_write(out, &(uint8_t){(uint8_t)(lead[more] | point >> 6 * more)}, 1);
    while (more-- > 0)
        edgenode_write(out, &(uint8_t){(uint8_t)(0x80 | (point >> 6 * more & 0x3f))}, 1);
}

static inline edgenode_text edgenode_json_string(edgenode_params *json)
{
    edgenode_buffer out = {0};
    edgenode_require(edgenode_json_take(json, '"'));
    while (!edgenode_json_take(json, '"')) {
        if (edgenode_json_take(json, '\\')) {
            edgenode_json_escape(json, &out);
        } else {
            edgenode_require(edgenode_json_peek(json) >= 0x20); /* no bare control character, and not the end */
            edgenode_write(&out, json->at++, 1);
        }
    }
    return edgenode_bytes(&out);
}

static inline bool edgenode_json_word(edgenode_params *json, edgenode_text word)
{
    bool here = (size_t)(json->end - json->at) >= word.length && edgenode_equal((edgenode_text){json->at, word.length}, word);
    json->at += here ? word.length : 0;
    return here;
}

static inline edgenode_param *edgenode_params_find(edgenode_params *params, edgenode_text key)
{
    for (uint32_t i = 0; i < params->count; i++)
        if (edgenode_equal(params->param[i].key, key))
            return &params->param[i];
    return NULL;
}

static inline void edgenode_json_member(edgenode_params *json)
{
    edgenode_param param = {.key = edgenode_json_string(json)};
    edgenode_require(json->count < EDGENODE_PARAMS_MAX && edgenode_params_find(json, param.key) == NULL);
    edgenode_require(edgenode_json_mark(json, ':'));
    switch (edgenode_json_peek(json)) {
    case '"':
        param.type = EDGENODE_STRING;
        param.text = edgenode_json_string(json);
        break;
    case '[':
        param.type = EDGENODE_NUMBERS;
        param.numbers = edgenode_json_numbers(json);
        break;
    case 't':
    case 'f':
        param.type = EDGENODE_BOOL;
        param.flag = edgenode_json_word(json, EDGENODE_TEXT("true"));
        edgenode_require(param.flag || edgenode_json_word(json, EDGENODE_TEXT("false")));
        break;
    default:
        param.type = EDGENODE_NUMBER;
        param.number = edgenode_json_number(json);
        break;
    }
    json->param[json->count++] = param;
}

static inline edgenode_params edgenode_params_begin(edgenode_text body)
{
    edgenode_params json = {.at = body.data, .end = body.data + body.length};
    if (body.length == 0)
        return json;
    edgenode_require(edgenode_is_utf8(body) && edgenode_json_mark(&json, '{'));
    if (!edgenode_json_mark(&json, '}')) {
        do
            edgenode_json_member(&json);
        while (edgenode_json_mark(&json, ','));
        edgenode_require(edgenode_json_mark(&json, '}'));
    }
    edgenode_require(json.at == json.end);
    return json;
}

/* The param of that name, marked as asked for; NULL when absent. */
static inline edgenode_param *edgenode_params_ask(edgenode_params *params, edgenode_text key, uint32_t type)
{
    edgenode_param *param = edgenode_params_find(params, key);
    if (param != NULL) {
        edgenode_require(param->type == type);
        param->asked = true;
    }
    return param;
}

static inline double edgenode_params_number(edgenode_params *params, edgenode_text key, double otherwise)
{
    const edgenode_param *param = edgenode_params_ask(params, key, EDGENODE_NUMBER);
    return param != NULL ? param->number : otherwise;
}

static inline bool edgenode_params_bool(edgenode_params *params, edgenode_text key, bool otherwise)
{
    const edgenode_param *param = edgenode_params_ask(params, key, EDGENODE_BOOL);
    return param != NULL ? param->flag : otherwise;
}

static inline edgenode_text edgenode_params_text(edgenode_params *params, edgenode_text key, edgenode_text otherwise)
{
    const edgenode_param *param = edgenode_params_ask(params, key, EDGENODE_STRING);
    return param != NULL ? param->text : otherwise;
}

static inline edgenode_numbers edgenode_params_numbers(edgenode_params *params, edgenode_text key, edgenode_numbers otherwise)
{
    const edgenode_param *param = edgenode_params_ask(params, key, EDGENODE_NUMBERS);
    return param != NULL ? param->numbers : otherwise;
}

/* Traps when a param was given that nobody asked for. */
static inline void edgenode_params_end(const edgenode_params *params)
{
    for (uint32_t i = 0; i < params->count; i++)
        edgenode_require(params->param[i].asked);
}

#endif
