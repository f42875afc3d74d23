/* SPDX-License-Identifier: BSD-2-Clause */
/* q8_steps.inc.h - what row.h lets follow an int8 sum, for a vector of channels of four neighbours
 * along a row, in natural order. Whoever includes it says, beside the words of a vector_*.h:
 *   CODE_BYTES                      bytes of a code
 *   store_codes(out, step, v)       four vectors as codes, from pixel to pixel `step` bytes
 *   store_both(out, rest, step, v)  the same with fractions, to `rest`
 * and, if it has vectors in pairs, whose codes fill one register,
 *   PAIRS
 *   load_part(p, second)            one vector of the pair, of 32-bit values at p */
#include "kernels/row.h"
#include "kernels/unroll.h"

#ifdef PAIRS
#define PLACE(s) (s)->pair == 0 ? 1 : 2, (s)->pair == 2
#define LOAD_LANES(s, p) ((s)->pair == 0 ? load_float(p) : load_part(p, (s)->pair == 2))
#else
#define PLACE(s) 1, 0
#define LOAD_LANES(s, p) load_float(p)
#endif

/* A vector of the layer's channels. */
struct steps {
    bool slope, residual, wide_residual, clamp, to_codes;
    size_t pixel; /* values from pixel to pixel */
    vfloat times, shift, lean, other, low, high;
#ifdef PAIRS
    int pair; /* 0: a vector of its own; 1, 2: the first, the second of a pair */
#endif
};

/* Where a row goes, and the other summand's. */
struct q8_row {
    uint8_t *out;
    const uint8_t *residual;
    size_t out_fraction, residual_fraction; /* as in row.h */
};

/* `fine`: codes with fractions. */
INLINE struct steps steps_of(const struct srpi_conv_layer *layer, uint32_t channel, bool fine)
{
    struct steps s = {.slope = layer->slope != NULL,
                      .residual = layer->has_residual,
                      .wide_residual = layer->residual == SRPI_F32,
                      .to_codes = layer->shape.out == SRPI_Q8,
                      .pixel = layer->shape.out_channels,
                      .times = load_float(layer->multiplier + channel),
                      .shift = set_float(layer->offset),
                      .other = set_float(layer->residual_multiplier),
                      .low = set_float(layer->low),
                      .high = set_float(layer->high)};
    /* Saturation does the rest, as with most ReLUs. */
    const bool saturates = s.to_codes && layer->low <= 0.0f &&
                           layer->high >= (fine ? 65535.0f : 255.0f);
    s.clamp = layer->clamp && !saturates;
    if (!s.to_codes) {
        s.shift = load_float(layer->shift + channel);
    }
    s.lean = s.slope ? load_float(layer->slope + channel) : s.shift;
    return s;
}

INLINE void add_residual(const struct steps *s, const struct q8_row *row, size_t at, vfloat v[4])
{
    if (s->wide_residual) {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            const uint8_t *other = row->residual + 4 * (at + x * s->pixel);
            v[x] = muladd(LOAD_LANES(s, other), s->other, v[x]);
        }
        return;
    }
    const uint8_t *codes = row->residual + CODE_BYTES * at;
    if (row->residual_fraction == 0) {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            const uint8_t *from = codes + x * s->pixel * CODE_BYTES;
            v[x] = muladd(other_q8(from, PLACE(s)), s->other, v[x]);
        }
    } else {
        const uint8_t *rest = codes + row->residual_fraction;
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            const size_t from = x * s->pixel * CODE_BYTES;
            v[x] = muladd(other_fine(codes + from, rest + from, PLACE(s)), s->other, v[x]);
        }
    }
}

/* The steps up to what is stored: from the sums v, value `at` of the row on. times[x] is the
 * multiplier of pixel x. */
INLINE void take_steps(const struct steps *s, const vfloat times[4], const struct q8_row *row,
                       size_t at, vfloat v[4])
{
    if (!s->slope) {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            v[x] = muladd(v[x], times[x], s->shift);
        }
    } else if (s->to_codes) {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            v[x] = plus(lean(multiply(v[x], times[x]), s->lean), s->shift);
        }
    } else {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            v[x] = lean(muladd(v[x], times[x], s->shift), s->lean);
        }
    }
    if (s->residual) {
        add_residual(s, row, at, v);
    }
    if (s->clamp) {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            v[x] = clamp(v[x], s->low, s->high);
        }
    }
}

/* All of them. */
INLINE void end_four(const struct steps *s, const vfloat times[4], const struct q8_row *row,
                     size_t at, vfloat v[4])
{
    take_steps(s, times, row, at, v);
    if (!s->to_codes) {
        UNROLL for (uint32_t x = 0; x < 4; x++) {
            store_float(row->out + 4 * (at + x * s->pixel), v[x]);
        }
    } else if (row->out_fraction == 0) {
        store_codes(row->out + CODE_BYTES * at, CODE_BYTES * s->pixel, v);
    } else {
        uint8_t *to = row->out + CODE_BYTES * at;
        store_both(to, to + row->out_fraction, CODE_BYTES * s->pixel, v);
    }
}
