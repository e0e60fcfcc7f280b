/* Count, mean, standard deviation, extremes and quantiles of every channel. See the README for what each field means. */
#include "edgenode.h"
#include "moments.h"

/* The bits of a double, changed so that unsigned order is numeric order: a negative one is turned over, the others get the top bit. */
static uint64_t key_of(double value)
{
    uint64_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits ^ ((bits >> 63 ? UINT64_MAX : 0) | UINT64_C(1) << 63);
}

static double value_of(uint64_t key)
{
    uint64_t bits = key ^ ((key >> 63 ? 0 : UINT64_MAX) | UINT64_C(1) << 63);
    double value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/*
 * The finite values' keys, ascending. A radix sort, one byte a pass from the lowest: the time is linear and does not depend
 * on the values, so no series can be chosen that makes a step run out of fuel. `keys` and `spare` have series->count items.
 */
static const uint64_t *sorted_keys(const edgenode_series *series, uint64_t *keys, uint64_t *spare)
{
    static uint32_t at[8][256]; /* how many keys have that byte; then where the next of them goes */
    __builtin_memset(at, 0, sizeof at);
    uint32_t count = 0;
    for (uint32_t i = 0; i < series->count; i++) {
        if (!__builtin_isfinite(series->values[i]))
            continue;
        uint64_t key = keys[count++] = key_of(series->values[i]);
        for (uint32_t byte = 0; byte < 8; byte++)
            at[byte][key >> 8 * byte & 0xff]++;
    }
    for (uint32_t byte = 0; byte < 8; byte++) {
        uint32_t start = 0;
        for (uint32_t digit = 0; digit < 256; digit++) {
            uint32_t here = at[byte][digit];
            at[byte][digit] = start;
            start += here;
        }
        for (uint32_t i = 0; i < count; i++)
            spare[at[byte][keys[i] >> 8 * byte & 0xff]++] = keys[i];
        uint64_t *swapped = keys;
        keys = spare;
        spare = swapped;
    }
    return keys;
}

/* Hyndman and Fan's type 7: linear between the samples on both sides of rank (count - 1) * q. */
static double quantile(const uint64_t *keys, uint32_t count, double q)
{
    double rank = (count - 1) * q;
    uint32_t below = (uint32_t)rank;
    double part = rank - below;
    double a = value_of(keys[below]);
    if (part == 0)
        return a;
    double b = value_of(keys[below + 1]);
    /* Values of two signs could overflow in b - a; of one sign, the first form would not give a for a == b. */
    return (a < 0) != (b < 0) ? a * (1 - part) + b * part : a + (b - a) * part;
}

void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
{
    static const double usual[] = {0.5, 0.9, 0.99};
    edgenode_params params = edgenode_params_begin(request->params);
    edgenode_numbers quantiles = edgenode_params_numbers(&params, EDGENODE_TEXT("quantiles"), (edgenode_numbers){usual, 3});
    edgenode_params_end(&params);
    for (uint32_t i = 0; i < quantiles.count; i++)
        edgenode_require(quantiles.values[i] >= 0 && quantiles.values[i] <= 1);

    uint32_t longest = 0;
    for (uint32_t i = 0; i < request->series_count; i++)
        longest = request->series[i].count > longest ? request->series[i].count : longest;
    uint64_t *keys = edgenode_new(longest, sizeof *keys), *spare = edgenode_new(longest, sizeof *spare);

    edgenode_buffer summary = {0};
    edgenode_map channels = edgenode_map_begin(&summary);
    for (uint32_t i = 0; i < request->series_count; i++) {
        const edgenode_series *series = &request->series[i];
        moments m = moments_of(series);
        edgenode_map_key(&channels, series->name);
        edgenode_map fields = edgenode_map_begin(&summary);
        const uint64_t *sorted = sorted_keys(series, keys, spare);
        if (m.count > 0) {
            edgenode_map_key(&fields, EDGENODE_TEXT("max"));
            edgenode_cbor_double(&summary, value_of(sorted[m.count - 1]));
            edgenode_map_key(&fields, EDGENODE_TEXT("min"));
            edgenode_cbor_double(&summary, value_of(sorted[0]));
            edgenode_map_key(&fields, EDGENODE_TEXT("mean"));
            edgenode_cbor_double(&summary, m.mean * m.scale);
        }
        edgenode_map_key(&fields, EDGENODE_TEXT("count"));
        edgenode_cbor_uint(&summary, m.count);
        if (m.count > 1) {
            edgenode_map_key(&fields, EDGENODE_TEXT("stddev"));
            edgenode_cbor_double(&summary, __builtin_sqrt(m.m2 / (m.count - 1)) * m.scale);
        }
        if (m.invalid > 0) {
            edgenode_map_key(&fields, EDGENODE_TEXT("invalid"));
            edgenode_cbor_uint(&summary, m.invalid);
        }
        if (m.count > 0 && quantiles.count > 0) {
            edgenode_map_key(&fields, EDGENODE_TEXT("quantiles"));
            edgenode_cbor_array(&summary, quantiles.count);
            for (uint32_t j = 0; j < quantiles.count; j++) {
                edgenode_cbor_array(&summary, 2);
                edgenode_cbor_double(&summary, quantiles.values[j]);
                edgenode_cbor_double(&summary, quantile(sorted, m.count, quantiles.values[j]));
            }
        }
        edgenode_map_end(&fields);
    }
    edgenode_map_end(&channels);
    edgenode_reply_summary(reply, edgenode_bytes(&summary));
}
