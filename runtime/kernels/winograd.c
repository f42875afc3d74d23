/* SPDX-License-Identifier: BSD-2-Clause */
#include "kernels/winograd.h"

#include "kernels/reference.h"

/* Polynomials are evaluated at 0, 1, -1, Q, -Q and infinity. With 1.5 the largest error is about
 * 0.6 of what it is with the usual 2; all powers used are exact in f32. */
#define Q 1.5
#define SIDE 6u  /* of the input that one tile reads */
#define STEP SRPI_WINOGRAD_TILE

/* Tiles that go through all stages together, a multiple of what a matrix kernel takes: what they
 * need shall stay in the L2 cache, and so many shall share one reading of the weights. */
#define GROUP 24u

bool srpi_winograd_suits(uint32_t in_channels, uint32_t out_channels, uint32_t kernel_height,
                         uint32_t kernel_width)
{
    /* Measured from 8 -> 1 (1.5 times as fast) to 128 -> 32 (3 times): it always pays. */
    (void)out_channels;
    return kernel_height == 3 && kernel_width == 3 && in_channels % 8 == 0;
}

size_t srpi_winograd_packed_size(uint32_t in_channels, uint32_t out_channels)
{
    return (size_t)SIDE * SIDE * in_channels * srpi_conv_padded(out_channels);
}

/* Three taps at the six points, divided by what Lagrange's polynomials have in the denominator. */
static void transform_taps(double out[6], const double g[3])
{
    const double q2 = Q * Q;
    const double at_one = 1.0 / (2.0 * (1.0 - q2)), at_q = 1.0 / (2.0 * q2 * (q2 - 1.0));
    out[0] = g[0] / q2;
    out[1] = (g[0] + g[1] + g[2]) * at_one;
    out[2] = (g[0] - g[1] + g[2]) * at_one;
    out[3] = (g[0] + Q * g[1] + q2 * g[2]) * at_q;
    out[4] = (g[0] - Q * g[1] + q2 * g[2]) * at_q;
    out[5] = g[2];
}

void srpi_winograd_pack(float *packed, const float *weight, uint32_t in_channels,
                        uint32_t out_channels)
{
    const uint32_t padded = srpi_conv_padded(out_channels);
    for (uint32_t first = 0; first < padded;) {
        const uint32_t block = padded - first >= 16 ? 16 : 8;
        for (uint32_t i = 0; i < in_channels; i++) {
            for (uint32_t b = 0; b < block; b++) {
                const uint32_t o = first + b;
                double half[3][6] = {{0}}, column[3], whole[6];
                for (uint32_t y = 0; y < 3 && o < out_channels; y++) {
                    const float *g = weight + (((size_t)o * in_channels + i) * 3 + y) * 3;
                    const double taps[3] = {g[0], g[1], g[2]};
                    transform_taps(half[y], taps);
                }
                for (uint32_t x = 0; x < SIDE; x++) {
                    for (uint32_t y = 0; y < 3; y++) {
                        column[y] = half[y][x];
                    }
                    transform_taps(whole, column);
                    for (uint32_t y = 0; y < SIDE; y++) {
                        packed[((size_t)y * SIDE + x) * in_channels * padded +
                               (size_t)in_channels * first + (size_t)i * block + b] =
                            (float)whole[y];
                    }
                }
            }
        }
        first += block;
    }
}

/* Floats of each stage's memory, in this order. */
struct areas {
    size_t zeros, columns, terms, products, sums;
};

static struct areas areas_of(uint32_t in_channels, uint32_t out_channels)
{
    const size_t padded = srpi_conv_padded(out_channels);
    const size_t line = (STEP * GROUP + 2) * (size_t)in_channels;
    return (struct areas){
        .zeros = (line + 15) / 16 * 16,
        .columns = (SIDE * line + 15) / 16 * 16,
        .terms = (SIDE * GROUP * in_channels + 15) / 16 * 16,
        .products = (SIDE * GROUP * padded + 15) / 16 * 16,
        .sums = (SIDE * STEP * GROUP * padded + 15) / 16 * 16,
    };
}

size_t srpi_winograd_scratch_size(uint32_t in_channels, uint32_t out_channels)
{
    const struct areas a = areas_of(in_channels, out_channels);
    return a.zeros + a.columns + a.terms + a.products + a.sums;
}

#if defined(__x86_64__)

#include <string.h>

#include "kernels/avx2.h"

/* A group of neighbouring tiles on its way through the stages. */
struct group {
    const struct srpi_conv *conv;
    uint32_t x, y;   /* of its first output pixel */
    uint32_t tiles;  /* at most GROUP */
    uint32_t padded; /* output channels */
    float *zeros;    /* a row of the input outside of the picture */
    float *columns;  /* [6][GROUP * 4 + 2][in]: input, transformed down the columns */
    float *terms;    /* [6][GROUP][in]: one of these rows, transformed along the row too */
    float *products; /* [6][GROUP][padded] */
    float *sums;     /* [6][GROUP * 4][padded]: transformed back along the row */
};

/* Lines of memory that are fetched while the products keep the multipliers busy. */
struct ahead {
    const char *next; /* input of the group after this one */
    char *here;       /* output of this one */
    uint32_t next_lines, here_lines; /* for each call of a matrix kernel */
};

AVX2 INLINE void fetch(struct ahead *a)
{
    for (uint32_t i = 0; i < a->next_lines; i++) {
        __builtin_prefetch(a->next, 0, 2);
        a->next += 64;
    }
    for (uint32_t i = 0; i < a->here_lines; i++) {
        __builtin_prefetch(a->here, 1, 2);
        a->here += 64;
    }
}

/* Six neighbours to six points. */
AVX2 INLINE void forward(__m256 v[6], const __m256 d[6])
{
    const __m256 q = _mm256_set1_ps((float)Q), q2 = _mm256_set1_ps((float)(Q * Q));
    const __m256 sum = _mm256_set1_ps((float)(Q * Q + 1.0));
    const __m256 even1 = _mm256_fnmadd_ps(q2, d[2], d[4]), odd1 = _mm256_fnmadd_ps(q2, d[1], d[3]);
    const __m256 even2 = _mm256_sub_ps(d[4], d[2]), odd2 = _mm256_sub_ps(d[3], d[1]);
    v[0] = _mm256_fmadd_ps(q2, d[0], _mm256_fnmadd_ps(sum, d[2], d[4]));
    v[1] = _mm256_add_ps(even1, odd1);
    v[2] = _mm256_sub_ps(even1, odd1);
    v[3] = _mm256_fmadd_ps(q, odd2, even2);
    v[4] = _mm256_fnmadd_ps(q, odd2, even2);
    v[5] = _mm256_fmadd_ps(q2, d[1], _mm256_fnmadd_ps(sum, d[3], d[5]));
}

/* Six points to four neighbours. */
AVX2 INLINE void backward(__m256 y[4], const __m256 m[6])
{
    const __m256 q = _mm256_set1_ps((float)Q), q2 = _mm256_set1_ps((float)(Q * Q));
    const __m256 q3 = _mm256_set1_ps((float)(Q * Q * Q));
    const __m256 even1 = _mm256_add_ps(m[1], m[2]), odd1 = _mm256_sub_ps(m[1], m[2]);
    const __m256 even2 = _mm256_add_ps(m[3], m[4]), odd2 = _mm256_sub_ps(m[3], m[4]);
    y[0] = _mm256_add_ps(_mm256_add_ps(m[0], even1), even2);
    y[1] = _mm256_fmadd_ps(q, odd2, odd1);
    y[2] = _mm256_fmadd_ps(q2, even2, even1);
    y[3] = _mm256_fmadd_ps(q3, odd2, _mm256_add_ps(odd1, m[5]));
}

/* Down the columns: neighbouring tiles share two of them, so this is done once for the whole row,
 * and the picture's edges end here: what lies outside is zero. */
AVX2 static void transform_columns(const struct group *g, const float *in)
{
    const struct srpi_conv *conv = g->conv;
    const size_t channels = conv->in_channels, line = (STEP * (size_t)GROUP + 2) * channels;
    const uint32_t left = g->x == 0 ? 1 : 0, count = STEP * g->tiles + 2;
    const uint32_t most = conv->width - (g->x + left - 1); /* columns in the picture from there */
    const uint32_t inside = count - left < most ? count - left : most;
    const size_t skip = left * channels, floats = inside * channels;
    const float *row[SIDE];
    for (uint32_t r = 0; r < SIDE; r++) {
        const uint32_t y = g->y + r; /* one more than the row: unsigned */
        row[r] = y >= 1 && y <= conv->height
                     ? in + ((size_t)(y - 1) * conv->width + g->x + left - 1) * channels
                     : g->zeros;
        float *to = g->columns + r * line;
        memset(to, 0, skip * sizeof(float));
        memset(to + skip + floats, 0, (count * channels - skip - floats) * sizeof(float));
    }
    float *to = g->columns + skip;
    for (size_t i = 0; i < floats; i += 8) {
        __m256 d[6], v[6];
        UNROLL for (uint32_t r = 0; r < SIDE; r++) {
            d[r] = _mm256_loadu_ps(row[r] + i);
        }
        forward(v, d);
        UNROLL for (uint32_t r = 0; r < SIDE; r++) {
            _mm256_storeu_ps(to + r * line + i, v[r]);
        }
    }
}

/* Along row r of the transformed columns. */
AVX2 INLINE void transform_row(const struct group *g, uint32_t r, const size_t channels)
{
    const float *from = g->columns + r * (STEP * (size_t)GROUP + 2) * channels;
    const size_t plane = GROUP * channels;
    float *to = g->terms;
    for (uint32_t t = 0; t < g->tiles; t++) {
        for (size_t i = 0; i < channels; i += 8) {
            __m256 d[6], v[6];
            UNROLL for (uint32_t c = 0; c < SIDE; c++) {
                d[c] = _mm256_loadu_ps(from + c * channels + i);
            }
            forward(v, d);
            UNROLL for (uint32_t c = 0; c < SIDE; c++) {
                _mm256_storeu_ps(to + c * plane + i, v[c]);
            }
        }
        from += STEP * channels;
        to += channels;
    }
}

/* Begins (`begin`) or continues the sums over eight channels of the input. */
AVX2 INLINE void sum16(__m256 sum[6][2], const float *terms, const float *w, const bool begin,
                       const size_t channels, const uint32_t tiles)
{
    UNROLL for (uint32_t k = 0; k < 8; k++) {
        const __m256 w0 = _mm256_loadu_ps(w + k * 16), w1 = _mm256_loadu_ps(w + k * 16 + 8);
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            const __m256 value = _mm256_broadcast_ss(terms + t * channels + k);
            if (begin && k == 0) {
                sum[t][0] = _mm256_mul_ps(value, w0);
                sum[t][1] = _mm256_mul_ps(value, w1);
            } else {
                sum[t][0] = _mm256_fmadd_ps(value, w0, sum[t][0]);
                sum[t][1] = _mm256_fmadd_ps(value, w1, sum[t][1]);
            }
        }
    }
}

AVX2 INLINE void sum8(__m256 sum[8], const float *terms, const float *w, const bool begin,
                      const size_t channels, const uint32_t tiles)
{
    UNROLL for (uint32_t k = 0; k < 8; k++) {
        const __m256 w0 = _mm256_loadu_ps(w + k * 8);
        UNROLL for (uint32_t t = 0; t < tiles; t++) {
            const __m256 value = _mm256_broadcast_ss(terms + t * channels + k);
            sum[t] = begin && k == 0 ? _mm256_mul_ps(value, w0)
                                     : _mm256_fmadd_ps(value, w0, sum[t]);
        }
    }
}

/* tiles x channels times channels x 16; `tiles` is a constant at each call, so that sums stay in
 * registers. No loop over 8 or 16 channels, and no zeros to begin with: a fifth faster with gcc. */
AVX2 INLINE void multiply16(const float *terms, const float *w, float *products, size_t step,
                            const size_t channels, const uint32_t tiles)
{
    __m256 sum[6][2];
    sum16(sum, terms, w, true, channels, tiles);
    for (size_t k = 8; k < channels; k += 8) {
        sum16(sum, terms + k, w + k * 16, false, channels, tiles);
    }
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        _mm256_storeu_ps(products + t * step, sum[t][0]);
        _mm256_storeu_ps(products + t * step + 8, sum[t][1]);
    }
}

AVX2 INLINE void multiply8(const float *terms, const float *w, float *products, size_t step,
                           const size_t channels, const uint32_t tiles)
{
    __m256 sum[8];
    sum8(sum, terms, w, true, channels, tiles);
    for (size_t k = 8; k < channels; k += 8) {
        sum8(sum, terms + k, w + k * 8, false, channels, tiles);
    }
    UNROLL for (uint32_t t = 0; t < tiles; t++) {
        _mm256_storeu_ps(products + t * step, sum[t]);
    }
}

/* One of the 36 products of matrices. The sum of one element is the same in all of these forms. */
AVX2 INLINE void multiply(const struct group *g, const float *terms, const float *weight,
                          float *products, const size_t channels, struct ahead *ahead)
{
    const size_t step = g->padded;
    for (uint32_t first = 0; first < g->padded;) {
        const uint32_t block = g->padded - first >= 16 ? 16 : 8;
        const float *from = terms;
        float *to = products + first;
        uint32_t left = g->tiles;
        while (left != 0) {
            uint32_t done;
            fetch(ahead);
            if (block == 16) {
                if (left >= 6) {
                    multiply16(from, weight, to, step, channels, done = 6);
                } else if (left >= 4) {
                    multiply16(from, weight, to, step, channels, done = 4);
                } else if (left >= 2) {
                    multiply16(from, weight, to, step, channels, done = 2);
                } else {
                    multiply16(from, weight, to, step, channels, done = 1);
                }
            } else {
                if (left >= 8) {
                    multiply8(from, weight, to, step, channels, done = 8);
                } else if (left >= 4) {
                    multiply8(from, weight, to, step, channels, done = 4);
                } else {
                    multiply8(from, weight, to, step, channels, done = 1);
                }
            }
            from += done * channels;
            to += done * step;
            left -= done;
        }
        weight += channels * block;
        first += block;
    }
}

/* Back along row r. */
AVX2 static void restore_row(const struct group *g, uint32_t r)
{
    const size_t padded = g->padded, plane = GROUP * padded;
    const float *from = g->products;
    float *to = g->sums + r * STEP * plane;
    for (uint32_t t = 0; t < g->tiles; t++) {
        for (size_t o = 0; o < padded; o += 8) {
            __m256 m[6], y[4];
            UNROLL for (uint32_t c = 0; c < SIDE; c++) {
                m[c] = _mm256_loadu_ps(from + c * plane + o);
            }
            backward(y, m);
            UNROLL for (uint32_t c = 0; c < STEP; c++) {
                _mm256_storeu_ps(to + c * padded + o, y[c]);
            }
        }
        from += padded;
        to += STEP * padded;
    }
}

/* Back down the columns, bias and activation: the output rows. */
AVX2 INLINE void restore_columns(const struct group *g, float *out,
                                 const enum srpi_activation activation)
{
    const struct srpi_conv *conv = g->conv;
    const size_t padded = g->padded, line = STEP * (size_t)GROUP * padded;
    const uint32_t right = conv->width - g->x, below = conv->height - g->y;
    const uint32_t pixels = STEP * g->tiles < right ? STEP * g->tiles : right;
    const uint32_t rows = STEP < below ? STEP : below;
    const size_t out_line = (size_t)conv->width * conv->out_channels;
    float *to = out + g->y * out_line + (size_t)g->x * conv->out_channels;
    const float *from = g->sums;
    for (uint32_t x = 0; x < pixels; x++) {
        for (uint32_t o = 0; o < padded; o += 8) {
            __m256 m[6], y[4];
            UNROLL for (uint32_t r = 0; r < SIDE; r++) {
                m[r] = _mm256_loadu_ps(from + r * line + o);
            }
            backward(y, m);
            const __m256 bias = _mm256_loadu_ps(conv->bias + o);
            UNROLL for (uint32_t r = 0; r < STEP; r++) {
                y[r] = activate8(_mm256_add_ps(y[r], bias), conv, activation, o);
            }
            const uint32_t left = conv->out_channels - o;
            if (rows == STEP && left >= 8) {
                UNROLL for (uint32_t r = 0; r < STEP; r++) {
                    _mm256_storeu_ps(to + r * out_line + o, y[r]);
                }
            } else if (o < conv->out_channels) {
                for (uint32_t r = 0; r < rows; r++) {
                    store8(to + r * out_line + o, y[r], left);
                }
            }
        }
        from += padded;
        to += conv->out_channels;
    }
}

AVX2 static void restore(const struct group *g, float *out)
{
    switch (g->conv->activation) {
    case SRPI_ACT_RELU:
        restore_columns(g, out, SRPI_ACT_RELU);
        break;
    case SRPI_ACT_CLIP:
        restore_columns(g, out, SRPI_ACT_CLIP);
        break;
    case SRPI_ACT_LEAKY_RELU:
        restore_columns(g, out, SRPI_ACT_LEAKY_RELU);
        break;
    case SRPI_ACT_PRELU:
        restore_columns(g, out, SRPI_ACT_PRELU);
        break;
    default:
        restore_columns(g, out, SRPI_ACT_NONE);
        break;
    }
}

AVX2 INLINE void run_rows(const struct group *g, const float *in, float *out,
                          const size_t channels)
{
    const struct srpi_conv *conv = g->conv;
    const size_t weights = channels * g->padded;
    const uint32_t calls = SIDE * ((g->padded + 15) / 16) * ((g->tiles + 5) / 6);
    const size_t in_lines = STEP * g->tiles * channels / 16 + calls;
    const size_t out_lines = STEP * g->tiles * (size_t)conv->out_channels / 16 + calls;
    const uint32_t next_x = g->x + STEP * g->tiles;
    for (uint32_t r = 0; r < SIDE; r++) {
        struct ahead a = {0};
        const size_t x = next_x < conv->width ? next_x : 0;
        const size_t y = g->y + r + (next_x < conv->width ? 0 : STEP); /* one more than the row */
        if (y >= 1 && y <= conv->height) {
            a.next = (const char *)(in + ((y - 1) * conv->width + x) * channels);
            a.next_lines = (uint32_t)(in_lines / calls);
        }
        if (r < STEP && g->y + r < conv->height) {
            a.here = (char *)(out + ((size_t)(g->y + r) * conv->width + g->x) * conv->out_channels);
            a.here_lines = (uint32_t)(out_lines / calls);
        }
        transform_row(g, r, channels);
        for (uint32_t c = 0; c < SIDE; c++) {
            multiply(g, g->terms + c * GROUP * channels,
                     conv->packed + (r * SIDE + c) * weights,
                     g->products + c * (size_t)GROUP * g->padded, channels, &a);
        }
        restore_row(g, r);
    }
}

AVX2 static void run_rows16(const struct group *g, const float *in, float *out)
{
    run_rows(g, in, out, 16);
}

AVX2 static void run_rows8(const struct group *g, const float *in, float *out)
{
    run_rows(g, in, out, 8);
}

AVX2 static void run_rows_any(const struct group *g, const float *in, float *out)
{
    run_rows(g, in, out, g->conv->in_channels);
}

void srpi_winograd_avx2(const struct srpi_conv *conv, const float *in, float *out, float *scratch,
                        uint32_t row_begin, uint32_t row_end)
{
    const struct areas areas = areas_of(conv->in_channels, conv->out_channels);
    struct group g = {.conv = conv,
                      .padded = srpi_conv_padded(conv->out_channels),
                      .zeros = scratch};
    g.columns = g.zeros + areas.zeros;
    g.terms = g.columns + areas.columns;
    g.products = g.terms + areas.terms;
    g.sums = g.products + areas.products;
    memset(g.zeros, 0, areas.zeros * sizeof(float));
    const bool later =
        conv->activation == SRPI_ACT_TANH || conv->activation == SRPI_ACT_SIGMOID;
    const uint32_t across = (conv->width + STEP - 1) / STEP;
    for (uint32_t ty = row_begin; ty < row_end; ty++) {
        g.y = ty * STEP;
        for (uint32_t tx = 0; tx < across; tx += g.tiles) {
            g.x = tx * STEP;
            g.tiles = across - tx < GROUP ? across - tx : GROUP;
            transform_columns(&g, in);
            if (conv->in_channels == 16) {
                run_rows16(&g, in, out);
            } else if (conv->in_channels == 8) {
                run_rows8(&g, in, out);
            } else {
                run_rows_any(&g, in, out);
            }
            restore(&g, out);
        }
        if (later) {
            const uint32_t below = conv->height - g.y, rows = STEP < below ? STEP : below;
            srpi_ref_activate(out + (size_t)g.y * conv->width * conv->out_channels,
                              (size_t)rows * conv->width, conv->out_channels, conv->activation,
                              0.0f, 0.0f, 0.0f, NULL);
        }
    }
}

#else

void srpi_winograd_avx2(const struct srpi_conv *conv, const float *in, float *out, float *scratch,
                        uint32_t row_begin, uint32_t row_end)
{
    (void)conv, (void)in, (void)out, (void)scratch, (void)row_begin, (void)row_end;
}

#endif
