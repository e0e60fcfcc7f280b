/* RMS, peak, crest factor, kurtosis and band energies of every channel. See the README for definitions and scaling. */
#include "edgenode.h"
#include "moments.h"

enum { USUAL_BANDS = 4, MAX_BANDS = 64 };

typedef struct {
    bool hann;
    edgenode_numbers edges; /* in Hz; none: USUAL_BANDS of equal width up to half the sample rate */
} settings;

typedef struct {
    double re, im;
} complex;

/* ---- Fourier transform ------------------------------------------------------------------------------------------ */

/*
 * e^(2 pi i k/n), for 0 <= k < n. The octant is found in integers, so the angle left is exact to its last rounding and at
 * most pi/4, where these many terms of the Taylor series are below the rounding of binary64.
 */
static complex on_circle(uint32_t k, uint32_t n)
{
    uint32_t octant = (uint32_t)(UINT64_C(8) * k / n);
    uint64_t rest = UINT64_C(8) * k - (uint64_t)octant * n; /* of the octant, in n-ths */
    bool from_above = octant & 1;                           /* odd octants are measured back from their upper end */
    double angle = (double)(from_above ? n - rest : rest) / n * 0.78539816339744830962;
    double square = angle * angle, cosine = 1, sine = 1;
    for (int term = 18; term > 0; term -= 2) {
        cosine = 1 - square / (term * (term - 1)) * cosine;
        sine = 1 - square / (term * (term + 1)) * sine;
    }
    sine *= angle;
    if (((octant + 1) / 2) & 1) { /* nearest to the imaginary axis: measured from there */
        double swapped = cosine;
        cosine = sine;
        sine = swapped;
    }
    return (complex){octant >= 2 && octant < 6 ? -cosine : cosine, octant >= 4 ? -sine : sine};
}

/* In place, radix 2: X[k] = sum of x[j] e^(-2 pi i jk/n). `circle` has e^(2 pi i k/turn) for the first half of a turn. */
static void transform(complex *x, uint32_t n, const complex *circle, uint32_t turn)
{
    for (uint32_t i = 1, reversed = 0; i < n; i++) {
        uint32_t bit = n >> 1;
        for (; reversed & bit; bit >>= 1)
            reversed ^= bit;
        reversed |= bit;
        if (i < reversed) {
            complex swapped = x[i];
            x[i] = x[reversed];
            x[reversed] = swapped;
        }
    }
    for (uint32_t half = 1; half < n; half *= 2) {
        uint32_t stride = turn / (2 * half);
        for (complex *block = x; block < x + n; block += 2 * half) {
            for (uint32_t k = 0; k < half; k++) {
                complex w = circle[k * stride], a = block[k], b = block[k + half];
                complex turned = {b.re * w.re + b.im * w.im, b.im * w.re - b.re * w.im}; /* b times the conjugate of w */
                block[k] = (complex){a.re + turned.re, a.im + turned.im};
                block[k + half] = (complex){a.re - turned.re, a.im - turned.im};
            }
        }
    }
}

static uint32_t next_power_of_two(uint32_t n)
{
    uint32_t power = 1;
    while (power < n)
        power *= 2;
    return power;
}

/* ---- Bands ------------------------------------------------------------------------------------------------------ */

typedef struct {
    complex *x;            /* room for the longest series, padded */
    const complex *circle; /* the first half of a turn, in `turn` steps to the whole */
    uint32_t turn;
} workspace;

static workspace prepare(const edgenode_request *request)
{
    uint32_t longest = 1;
    for (uint32_t i = 0; i < request->series_count; i++)
        longest = request->series[i].count > longest ? request->series[i].count : longest;
    uint32_t turn = next_power_of_two(longest);
    complex *circle = edgenode_new(turn / 2, sizeof *circle);
    for (uint32_t k = 0; k < turn / 2; k++)
        circle[k] = on_circle(k, turn);
    return (workspace){edgenode_new(turn, sizeof(complex)), circle, turn};
}

/* Samples per second, from the first and last time; 0 when they do not tell. */
static double rate_of(const edgenode_series *series)
{
    if (series->count < 2)
        return 0;
    uint64_t span_ns = (uint64_t)series->times[series->count - 1] - (uint64_t)series->times[0];
    return span_ns == 0 ? 0 : (series->count - 1) * 1e9 / (double)span_ns;
}

/*
 * Writes [low, high, energy] for every band: the part of the mean square about the mean that lies at low <= f < high, or
 * <= high in the last band. The transform is of all samples, padded with zeros up to a power of two, so by Parseval's theorem
 * the energies of bands that cover everything add up to the whole.
 */
static void write_bands(edgenode_buffer *out, const settings *settings, const edgenode_series *series, const moments *m, double rate,
                        const workspace *work)
{
    uint32_t n = next_power_of_two(series->count);
    double unscale = 1 / m->scale, weights = 0;
    __builtin_memset(work->x, 0, n * sizeof *work->x);
    for (uint32_t i = 0; i < series->count; i++) {
        if (!__builtin_isfinite(series->values[i]))
            continue; /* it stands at the mean, with no weight */
        double weight = settings->hann ? 0.5 - 0.5 * on_circle(i, series->count).re : 1;
        work->x[i].re = weight * (series->values[i] * unscale - m->mean);
        weights += weight * weight;
    }
    transform(work->x, n, work->circle, work->turn);

    uint32_t bands = settings->edges.count > 0 ? settings->edges.count - 1 : USUAL_BANDS;
    edgenode_cbor_array(out, bands);
    for (uint32_t band = 0, k = 0; band < bands; band++) {
        double low = settings->edges.count > 0 ? settings->edges.values[band] : band * (rate / 2 / USUAL_BANDS);
        double high = settings->edges.count > 0 ? settings->edges.values[band + 1] : (band + 1) * (rate / 2 / USUAL_BANDS);
        double energy = 0;
        for (; k <= n / 2; k++) {
            double frequency = k * rate / n;
            if (frequency > high || (frequency == high && band < bands - 1))
                break;
            if (frequency < low)
                continue;
            double power = work->x[k].re * work->x[k].re + work->x[k].im * work->x[k].im;
            energy += k == 0 || k == n / 2 ? power : 2 * power; /* the others stand for their mirror image too */
        }
        edgenode_cbor_array(out, 3);
        edgenode_cbor_double(out, low);
        edgenode_cbor_double(out, high);
        edgenode_cbor_double(out, weights > 0 ? energy / n / weights * m->scale * m->scale : 0);
    }
}

/* ---- The step --------------------------------------------------------------------------------------------------- */

static settings read_settings(edgenode_text body)
{
    edgenode_params params = edgenode_params_begin(body);
    edgenode_text window = edgenode_params_text(&params, EDGENODE_TEXT("window"), EDGENODE_TEXT("none"));
    settings settings = {
        .hann = edgenode_equal(window, EDGENODE_TEXT("hann")),
        .edges = edgenode_params_numbers(&params, EDGENODE_TEXT("bands"), (edgenode_numbers){0}),
    };
    edgenode_params_end(&params);
    edgenode_require(settings.hann || edgenode_equal(window, EDGENODE_TEXT("none")));
    edgenode_require(settings.edges.count != 1 && settings.edges.count <= MAX_BANDS + 1);
    for (uint32_t i = 0; i < settings.edges.count; i++)
        edgenode_require(settings.edges.values[i] >= 0 && (i == 0 || settings.edges.values[i - 1] < settings.edges.values[i]));
    return settings;
}

static void describe(edgenode_buffer *out, const settings *settings, const edgenode_series *series, const workspace *work)
{
    moments m = moments_of(series);
    double rate = rate_of(series);
    double rms = m.count > 0 ? __builtin_sqrt(m.m2 / m.count) : 0;
    edgenode_map fields = edgenode_map_begin(out);
    if (m.count > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("rms"));
        edgenode_cbor_double(out, rms * m.scale);
        edgenode_map_key(&fields, EDGENODE_TEXT("mean"));
        edgenode_cbor_double(out, m.mean * m.scale);
        edgenode_map_key(&fields, EDGENODE_TEXT("peak"));
        edgenode_cbor_double(out, m.peak * m.scale);
    }
    if (rate > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("rate"));
        edgenode_cbor_double(out, rate);
    }
    if (m.count > 0 && rate > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("bands"));
        write_bands(out, settings, series, &m, rate, work);
    }
    edgenode_map_key(&fields, EDGENODE_TEXT("count"));
    edgenode_cbor_uint(out, m.count);
    if (rms > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("crest"));
        edgenode_cbor_double(out, m.peak / rms);
    }
    if (m.invalid > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("invalid"));
        edgenode_cbor_uint(out, m.invalid);
    }
    if (rms > 0) {
        edgenode_map_key(&fields, EDGENODE_TEXT("kurtosis"));
        edgenode_cbor_double(out, m.m4 * m.count / (m.m2 * m.m2));
    }
    edgenode_map_end(&fields);
}

void edgenode_run(const edgenode_request *request, edgenode_reply *reply)
{
    settings settings = read_settings(request->params);
    workspace work = prepare(request);
    edgenode_buffer summary = {0};
    edgenode_map channels = edgenode_map_begin(&summary);
    for (uint32_t i = 0; i < request->series_count; i++) {
        edgenode_map_key(&channels, request->series[i].name);
        describe(&summary, &settings, &request->series[i], &work);
    }
    edgenode_map_end(&channels);
    edgenode_reply_summary(reply, edgenode_bytes(&summary));
}
