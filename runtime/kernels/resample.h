/* SPDX-License-Identifier: BSD-2-Clause */
/* resample.h - enlarging planes by whole factors, one float output row at a time.
 *
 * Output sample j of an axis lies at source position (j + a)/S - b, edges replicated. Centred
 * samples
 * have a = b = 1/2; samples sited on the first luma sample of their pair a = b = 1/4; from such
 * chroma
 * to luma a = 1/2, b = 1/4 with S = twice the picture's factor. So luma and chroma stay aligned.
 *
 * Sums are taken tap by tap, multiply then add, in every variant: all give the same bits. */
#ifndef SRPI_RESAMPLE_H
#define SRPI_RESAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum srpi_filter {
    SRPI_FILTER_NEAREST = 0,
    SRPI_FILTER_LINEAR,
    SRPI_FILTER_CUBIC,   /* Keys' cubic with a = -0.6 (B = 0, C = 0.6), 4 taps */
    SRPI_FILTER_LANCZOS, /* 3 lobes, 6 taps, normalised */
};

#define SRPI_MAX_TAPS 6u
#define SRPI_MAX_PHASES 8u /* a factor of 4 from half-size chroma to luma */

/* Taps of output sample j at (4j + a4)/(4 factor) - b4/4; a4 and b4 are a and b in quarters.
 * Returns
 * their number; *first is the source index of the first, which may lie outside of the source. */
uint32_t srpi_filter_taps(enum srpi_filter filter, uint32_t factor, uint32_t a4, uint32_t b4,
                          uint32_t j, float *taps, int64_t *first);

/* One axis, tables made once. */
struct srpi_axis {
    enum srpi_filter filter;
    uint32_t factor, a4, b4;
    bool identity; /* factor 1: output sample j is source sample j */
    uint32_t taps;
    float tap[SRPI_MAX_PHASES][SRPI_MAX_TAPS];
    int32_t first[SRPI_MAX_PHASES]; /* relative to j / factor */

    /* The same for vectors of 8 outputs: the pattern repeats after `patterns` vectors = `advance`
     * source samples. A vector's source samples are start + lane. */
    uint32_t patterns, advance;
    bool narrow; /* each vector needs at most 8 neighbouring source samples */
    int32_t start[3];
    int32_t lane[3][SRPI_MAX_TAPS][8];
    float lane_tap[3][SRPI_MAX_TAPS][8];
};

/* factor is 1, 2, 3, 4, 6 or 8. */
void srpi_axis_init(struct srpi_axis *axis, enum srpi_filter filter, uint32_t factor, uint32_t a4,
                    uint32_t b4);

/* Rows of a tensor that are in memory now. */
struct srpi_rows {
    const char *data;  /* ring position 0, pixel `column` */
    size_t pitch;      /* bytes */
    uint32_t ring;     /* row y is at ring position y % ring, but */
    uint32_t end;      /* from row `end` on at below + (y - end) * pitch */
    const char *below;
    uint32_t column;   /* of the picture's row (in the tensor's pixels) */
};

static inline const void *srpi_rows_at(const struct srpi_rows *rows, uint32_t y)
{
    return y < rows->end ? rows->data + (size_t)(y % rows->ring) * rows->pitch
                         : rows->below + (size_t)(y - rows->end) * rows->pitch;
}

enum srpi_sample {
    SRPI_SAMPLE_U8 = 0,
    SRPI_SAMPLE_F32,
    SRPI_SAMPLE_BF16,
    SRPI_SAMPLE_U16, /* a code of 8 bits in 16 */
    SRPI_SAMPLE_S8,  /* a code less 128 */
};

enum srpi_bound { SRPI_BOUND_NONE = 0, SRPI_BOUND_WANTED, SRPI_BOUND_INPUT };

/* Samples of one channel in memory that someone else owns. */
struct srpi_view {
    const void *data;
    ptrdiff_t stride;       /* bytes from row to row, may be negative */
    /* The rows are those of a tensor that is being made: where they are now, the ring says. Then
     * `data` and `stride` are not used, and `offset` is that of the channel in a row. */
    enum srpi_bound bound;
    size_t offset;          /* bytes */
    uint32_t step;          /* samples from one to the next */
    enum srpi_sample sample;
    float multiply, add;    /* value = sample * multiply + add; multiply 0: the sample */
    bool paired;            /* f32 only: sample (y, x) is element (y % 2) * 2 + x % 2 of pixel
                               (y / 2, x / 2): four channels are the 2x2 block */
    uint32_t width, height; /* not 0 */
};

/* A view to be enlarged. */
struct srpi_source {
    struct srpi_view view;
    const struct srpi_axis *h, *v;
};

/* Work memory of one thread for one source: the last rows after the horizontal pass, of columns
 * begin..end of the output. */
#define SRPI_RING_ROWS SRPI_MAX_TAPS
#define SRPI_SAMPLE_SLACK 48u /* floats that a row buffer is longer than its row */
struct srpi_ring {
    float *rows;   /* SRPI_RING_ROWS of `pitch` floats */
    size_t pitch;  /* at least end - begin + SRPI_SAMPLE_SLACK */
    float *padded; /* as many floats as are read of the view + 2 * SRPI_SAMPLE_SLACK */
    const struct srpi_rows *bound; /* of a view that is bound */
    uint32_t begin, end;
    int64_t held[SRPI_RING_ROWS];
};
/* Forgets all rows: to be called when the source's pixels change. From now on rows are columns
 * begin..end of the output, at most view.width * h->factor; begin is a multiple of h->factor. */
void srpi_ring_reset(struct srpi_ring *ring, uint32_t begin, uint32_t end);

/* Output row y, its columns as the ring has them: `out` (with SRPI_SAMPLE_SLACK floats more), or a
 * row inside the ring that stays valid until the next call for it. */
const float *srpi_source_row(const struct srpi_source *source, struct srpi_ring *ring, uint32_t y,
                             float *out);

/* Instead of one finished row, what it is made of: the rows and taps of the vertical pass. The rows
 * stay valid over calls for this ring that in all want at most SRPI_RING_ROWS rows in succession.
 * Returns the number of taps. */
uint32_t srpi_source_taps(const struct srpi_source *source, struct srpi_ring *ring, uint32_t y,
                          const float **rows, const float **taps);

/* A row of bytes: sum of tap[k] * rows[k][x] (`flat` without taps), and of `gain` times the tail,
 * which for pixel x is tail[x / block * block * block + x % block]. */
struct srpi_blend {
    const float *const *rows;
    const float *tap;
    uint32_t taps;
    float flat;
    const float *tail; /* NULL: none */
    uint32_t block;
    float gain;
};

/* The vector parts, in plain C and as the machine allows; see resample.c. */
struct srpi_resample_kernels {
    /* out[j] for j < count from a row with at least SRPI_SAMPLE_SLACK replicated samples on both
     * sides; may write up to 23 more. */
    void (*horizontal)(const struct srpi_axis *axis, const float *in, float *out, uint32_t count);
    /* out[x] = sum of tap[k] * rows[k][x]; may write up to 7 more. */
    void (*vertical)(const float *const *rows, const float *tap, uint32_t taps, float *out,
                     uint32_t count);
    /* u8 to f32. */
    void (*widen)(const uint8_t *in, float *out, uint32_t count);
    /* Rounds to the nearest even code, clips to 0..255. */
    void (*narrow)(const float *in, uint8_t *out, uint32_t count);
    /* out[x * block + j] = pixel[x * channels + j] for j < block <= 4; may read up to 3 values more
     * than it uses and write up to 3 more. */
    void (*spread)(const float *pixel, float *out, uint32_t width, uint32_t block,
                   uint32_t channels);
    /* Rounded and clipped as `narrow`; may read up to 31 pixels more. */
    void (*blend)(const struct srpi_blend *blend, uint8_t *out, uint32_t count);
    /* interleave() of three channels that are still shuffled: channel c of pixel x * block + j is
     * pixel[x * channels + c * cell + j]. `count` pixels. */
    void (*interleave_shuffled)(const float *pixel, uint32_t channels, uint32_t cell,
                                uint32_t block, float flat, float gain, const uint8_t *order,
                                uint32_t step, uint8_t *out, uint32_t count);
    /* Interleaved bytes of flat + gain * rows[c][x]: 3 for a pixel, or 4 with a last byte of 255;
     * channel c goes to byte order[c]. May read up to 7 more. */
    void (*interleave)(const float *const *rows, float flat, float gain, const uint8_t *order,
                       uint32_t step, uint8_t *out, uint32_t count);
};
extern const struct srpi_resample_kernels srpi_resample_scalar;
/* NULL where this was compiled without them; only for machines with AVX2, and with AVX-512. */
extern const struct srpi_resample_kernels *const srpi_resample_avx2;
extern const struct srpi_resample_kernels *const srpi_resample_avx512;
/* Parts of the latter. */
void srpi_horizontal_avx512(const struct srpi_axis *axis, const float *in, float *out,
                            uint32_t count);
void srpi_blend_avx512(const struct srpi_blend *blend, uint8_t *out, uint32_t count);
void srpi_interleave_shuffled_avx512(const float *pixel, uint32_t channels, uint32_t cell,
                                     uint32_t block, float flat, float gain, const uint8_t *order,
                                     uint32_t step, uint8_t *out, uint32_t count);
/* The ones to use. */
const struct srpi_resample_kernels *srpi_resample_kernels(void);

#endif
