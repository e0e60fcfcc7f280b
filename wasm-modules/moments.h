/* The moments of a series: what statistics and vibration-features have in common. */
#ifndef MOMENTS_H
#define MOMENTS_H

#include "edgenode.h"

/*
 * NaN and infinities are no readings: they are counted, and left out. The rest is computed on value / scale, where
 * scale is the power of two next to the largest magnitude: dividing by it is exact, and then no square can overflow
 * or vanish, whatever the unit of the channel. Powers of `scale` bring results back; where that leaves binary64, the
 * result is infinity or 0, as it should be.
 */
typedef struct {
    uint32_t count, invalid; /* finite samples; the others */
    double scale;
    double mean;
    double m2, m4; /* sums of the 2nd and 4th powers of the deviations from the mean */
    double peak;   /* the largest magnitude of a deviation */
} moments;

/* 2^exponent, for -1022 <= exponent <= 1023 */
static inline double power_of_two(int exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

static inline moments moments_of(const edgenode_series *series)
{
    moments m = {0};
    double largest = 0;
    for (uint32_t i = 0; i < series->count; i++) {
        double magnitude = __builtin_fabs(series->values[i]);
        if (!__builtin_isfinite(magnitude)) {
            m.invalid++;
            continue;
        }
        m.count++;
        largest = magnitude > largest ? magnitude : largest;
    }
    uint64_t bits;
    __builtin_memcpy(&bits, &largest, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    exponent = exponent < -1022 ? -1022 : exponent > 1022 ? 1022 : exponent; /* so that 1 / scale is a normal number too */
    m.scale = power_of_two(exponent);
    double unscale = power_of_two(-exponent);

    /* Twice: the second round adds the mean of what the first one's rounding left, so the mean of equal values is that value. */
    for (int round = 0; round < 2; round++) {
        double sum = 0;
        for (uint32_t i = 0; i < series->count; i++)
            if (__builtin_isfinite(series->values[i]))
                sum += series->values[i] * unscale - m.mean;
        if (m.count > 0)
            m.mean += sum / m.count;
    }
    for (uint32_t i = 0; i < series->count; i++) {
        if (!__builtin_isfinite(series->values[i]))
            continue;
        double deviation = series->values[i] * unscale - m.mean;
        double square = deviation * deviation;
        m.m2 += square;
        m.m4 += square * square;
        m.peak = __builtin_fabs(deviation) > m.peak ? __builtin_fabs(deviation) : m.peak;
    }
    return m;
}

#endif
