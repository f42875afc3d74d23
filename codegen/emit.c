/* SPDX-License-Identifier: BSD-2-Clause */
#include "emit.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "kernels/row_sets.h"

/* Loops over as few units as this are written out. */
enum { WRITTEN_OUT = 8 };

static const struct family {
    const char *name;    /* of functions */
    const char *title;   /* for people */
    const char *in, *out; /* enum srpi_dtype */
    const char *value;   /* suffix of value_, weight_, spread_, load_, dot_ */
    const char *sum;     /* type of the sums */
    const char *result;  /* suffix of store_, other_ */
    bool quantised;      /* sums are integers */
    bool split;          /* of integers too, but each kernel row's is added to floats, `sum` */
} families[PAIR_COUNT] = {
    [PAIR_F32] = {"f32_f32", "f32-f32", "F32", "F32", "f32", "vfloat", "float", false, false},
    [PAIR_Q8] = {"q8_q8", "q8-q8", "Q8", "Q8", "q8", "vint", "q8", true, false},
    [PAIR_Q8_F32] = {"q8_f32", "q8-f32", "Q8", "F32", "q8", "vint", "float", true, false},
    [PAIR_Q8_SPLIT] = {"q8_split", "q8-f32 split", "Q8", "F32", "q8", "vfloat", "float", false,
                       true},
    [PAIR_BF16] = {"bf16_bf16", "bf16-bf16", "BF16", "BF16", "bf16", "vfloat", "bf16", false,
                   false},
    [PAIR_BF16_F32] = {"bf16_f32", "bf16-f32", "BF16", "F32", "bf16", "vfloat", "float", false,
                       false},
};

/* A tile: vectors of output channels x pixels. */
struct tile {
    FILE *to;
    const struct isa *isa;
    const struct family *family;
    const struct shape *shape; /* NULL: of the general family */
    uint32_t vectors, pixels;
    bool half;      /* of the last vector: see srpi_row_half() */
    uint32_t slide; /* of the general family, for this kernel width: see can_slide(); or 0 */
};

/* 32, or 16. */
static bool many_registers(const struct isa *isa)
{
    return isa->tiles[0].most > 12;
}

static uint32_t size_of(const struct isa *isa, const char *dtype)
{
    return strcmp(dtype, "F32") == 0 ? 4 : strcmp(dtype, "BF16") == 0 ? 2 : 4 / isa->q8_values;
}

/* One line from a template: @p is the pixel, @v the vector. */
static void line(const struct tile *t, uint32_t p, uint32_t v, const char *template)
{
    for (const char *c = template; *c != '\0'; c++) {
        if (c[0] == '@' && (c[1] == 'p' || c[1] == 'v')) {
            fprintf(t->to, "%" PRIu32, c[1] == 'p' ? p : v);
            c++;
        } else {
            fputc(*c, t->to);
        }
    }
    fputc('\n', t->to);
}

static void each_vector(const struct tile *t, const char *template)
{
    for (uint32_t v = 0; v < t->vectors; v++) {
        line(t, 0, v, template);
    }
}

static void each_sum(const struct tile *t, const char *template)
{
    for (uint32_t p = 0; p < t->pixels; p++) {
        for (uint32_t v = 0; v < t->vectors; v++) {
            line(t, p, v, template);
        }
    }
}

/* The sums with something in front of each, `prefix`s0_0, `prefix`s0_1..., in a line or several;
 * `letter`: what they are called. */
static void list_sums(const struct tile *t, const char *prefix, char letter)
{
    const uint32_t in_line = *prefix == '\0' ? 14 : 6;
    for (uint32_t i = 0; i < t->pixels * t->vectors; i++) {
        fprintf(t->to, "%s%s%c%" PRIu32 "_%" PRIu32,
                i == 0 ? "" : i % in_line == 0 ? ",\n    " : ", ", prefix, letter,
                i / t->vectors, i % t->vectors);
    }
}

/* Of what is called the same but for the sets of vectors. */
static const char *half_of(const struct tile *t)
{
    return t->half ? "h" : "";
}

/* The name of a tile's function. */
static void name_tile(const struct tile *t)
{
    fputs(t->family->name, t->to);
    if (t->shape != NULL) {
        fprintf(t->to, "_%" PRIu32 "x%" PRIu32 "_%" PRIu32 "_%" PRIu32, t->shape->kernel_height,
                t->shape->kernel_width, t->shape->in_channels, t->shape->out_channels);
    }
    if (t->slide != 0) {
        fprintf(t->to, "_wide%" PRIu32, t->slide);
    }
    fprintf(t->to, "_%" PRIu32 "%sx%" PRIu32, t->vectors, half_of(t), t->pixels);
}

/* ---- from sums to values ----------------------------------------------------------------------*/

static void finish_scale(const struct tile *t)
{
    const bool narrow = strcmp(t->family->out, "Q8") == 0;
    each_sum(t, "    vfloat f@p_@v;");
    if (!t->family->quantised) {
        fputs("    if (t->slope == NULL) {\n", t->to);
        each_sum(t, "        f@p_@v = s@p_@v;");
        fputs("    } else {\n", t->to);
        each_vector(t, "        const vfloat a@v = load_float(t->slope + @v * LANES);");
        each_sum(t, "        f@p_@v = lean(s@p_@v, a@v);");
        fputs("    }\n", t->to);
        return;
    }
    each_vector(t, "    const vfloat m@v = load_float(t->multiplier + @v * LANES);");
    if (narrow) {
        fputs("    const vfloat offset = set_float(t->layer->offset);\n", t->to);
        fputs("    if (t->slope == NULL) {\n", t->to);
        each_sum(t, "        f@p_@v = muladd(to_float(s@p_@v), m@v, offset);");
        fputs("    } else {\n", t->to);
        each_vector(t, "        const vfloat a@v = load_float(t->slope + @v * LANES);");
        each_sum(t, "        f@p_@v = plus(lean(multiply(to_float(s@p_@v), m@v), a@v), offset);");
        fputs("    }\n", t->to);
    } else {
        each_vector(t, "    const vfloat b@v = load_float(t->shift + @v * LANES);");
        each_sum(t, "    f@p_@v = muladd(to_float(s@p_@v), m@v, b@v);");
        fputs("    if (t->slope != NULL) {\n", t->to);
        each_vector(t, "        const vfloat a@v = load_float(t->slope + @v * LANES);");
        each_sum(t, "        f@p_@v = lean(f@p_@v, a@v);");
        fputs("    }\n", t->to);
    }
}

static void finish_residual(const struct tile *t)
{
    const struct family *f = t->family;
    const bool narrow = strcmp(f->out, "Q8") == 0, same_only = strcmp(f->out, "F32") == 0;
    const char *half = half_of(t);
    fputs("    if (t->residual != NULL) {\n", t->to);
    if (!same_only) {
        fprintf(t->to, "        if (t->layer->residual == SRPI_%s) {\n", f->out);
    } else {
        fputs("        {\n", t->to);
    }
    fputs("            const vfloat k = set_float(t->layer->residual_multiplier);\n"
          "            const uint8_t *r = t->residual + pixel * step;\n", t->to);
    char one[240];
    if (narrow) {
        fputs("            if (t->residual_fraction != 0) {\n"
              "                const uint8_t *rest = r + t->residual_fraction;\n", t->to);
        snprintf(one, sizeof(one),
                 "                f@p_@v = muladd(\n"
                 "                    other_fine%s(r + @p * step, rest + @p * step, %" PRIu32
                 ", @v), k, f@p_@v);", half, t->vectors);
        each_sum(t, one);
        fputs("            } else {\n", t->to);
        snprintf(one, sizeof(one),
                 "                f@p_@v = muladd(other_q8%s(r + @p * step, %" PRIu32
                 ", @v), k, f@p_@v);", half, t->vectors);
    } else {
        snprintf(one, sizeof(one),
                 "            f@p_@v = muladd(%s(r + @p * step + @v * LANES * %" PRIu32
                 "), k, f@p_@v);", same_only ? "load_float" : "other_bf16",
                 size_of(t->isa, f->out));
    }
    each_sum(t, one);
    if (narrow) {
        fputs("            }\n", t->to);
    }
    if (!same_only) {
        fprintf(t->to, "        } else {\n            float sums[%" PRIu32 " * LANES];\n",
                t->pixels * t->vectors);
        snprintf(one, sizeof(one), "            store_float(sums + (@p * %" PRIu32
                 " + @v) * LANES, f@p_@v);", t->vectors);
        each_sum(t, one);
        fprintf(t->to, "            add_f32_residual(t, pixel, %" PRIu32 ", %" PRIu32
                ", %s, %s, sums);\n", t->pixels, t->vectors, t->half ? "true" : "false",
                narrow ? "true" : "false");
        snprintf(one, sizeof(one), "            f@p_@v = load_float(sums + (@p * %" PRIu32
                 " + @v) * LANES);", t->vectors);
        each_sum(t, one);
    }
    fputs("        }\n    }\n", t->to);
}

/* The values as codes, or as 16 bits. */
static void store_codes(const struct tile *t, bool fine)
{
    const uint32_t together = t->isa->tiles[t->vectors - 1].q8_pixels;
    for (uint32_t p = 0; p < t->pixels; p += together) {
        fprintf(t->to, "        store_%s_%" PRIu32 "%s(out + %" PRIu32 " * step, ",
                fine ? "fine" : "q8", t->vectors, half_of(t), p);
        if (fine) {
            fprintf(t->to, "rest + %" PRIu32 " * step, ", p);
        }
        fputs("step", t->to);
        for (uint32_t i = 0; i < together * t->vectors; i++) {
            fprintf(t->to, ", f%" PRIu32 "_%" PRIu32, p + i / t->vectors, i % t->vectors);
        }
        fputs(");\n", t->to);
    }
}

/* The name of the function that does everything after the sums; where channels keep their order,
 * a vector that is half empty is like any other. */
static void name_finish(const struct tile *t)
{
    fprintf(t->to, "finish_%s_%" PRIu32 "%sx%" PRIu32, t->family->name, t->vectors,
            strcmp(t->family->out, "Q8") == 0 ? half_of(t) : "", t->pixels);
}

/* That function; inlined into each tile of that size. */
static void emit_finish(const struct tile *t)
{
    const struct family *f = t->family;
    if (t->half && strcmp(f->out, "Q8") != 0) {
        return;
    }
    fputs("\nINLINE void ", t->to);
    name_finish(t);
    fputs("(const struct tile *t, size_t pixel, size_t step,\n    ", t->to);
    list_sums(t, strcmp(f->sum, "vint") == 0 ? "vint " : "vfloat ", 's');
    fputs(")\n{\n", t->to);
    finish_scale(t);
    finish_residual(t);
    fputs("    if (t->layer->clamp) {\n"
          "        const vfloat low = set_float(t->layer->low);\n"
          "        const vfloat high = set_float(t->layer->high);\n", t->to);
    each_sum(t, "        f@p_@v = clamp(f@p_@v, low, high);");
    fputs("    }\n    uint8_t *out = t->out + pixel * step;\n", t->to);
    if (strcmp(f->out, "Q8") == 0) {
        fputs("    if (t->out_fraction == 0) {\n", t->to);
        store_codes(t, false);
        fputs("    } else {\n        uint8_t *rest = out + t->out_fraction;\n", t->to);
        store_codes(t, true);
        fputs("    }\n", t->to);
    } else {
        char one[100];
        snprintf(one, sizeof(one), "    store_%s(out + @p * step + @v * LANES * %" PRIu32
                 ", f@p_@v);", f->result, size_of(t->isa, f->out));
        each_sum(t, one);
    }
    fputs("}\n", t->to);
}

/* ---- sums -------------------------------------------------------------------------------------*/

/* Where a pixel's value lies, in a kernel of the general family: few registers hold multiples of
 * the distance c between pixels, and addressing modes double and quadruple them. */
static const char *const near[8] = {"",         " + c",  " + 2 * c",  " + c3",
                                    " + 4 * c", " + c5", " + 2 * c3", " + c7"};

/* The products of one unit, `unit` units behind x and w. */
static void emit_unit(const struct tile *t, const char *indent, uint32_t unit)
{
    const char *value = t->family->value;
    const uint32_t vector_bytes = t->isa->lanes * 4;
    for (uint32_t v = 0; v < t->vectors; v++) {
        fprintf(t->to, "%sconst weight_%s w%" PRIu32 " = load_%s(w", indent, value, v, value);
        if (unit * t->vectors + v > 0) {
            fprintf(t->to, " + %" PRIu32, (unit * t->vectors + v) * vector_bytes);
        }
        fputs(");\n", t->to);
    }
    for (uint32_t p = 0; p < t->pixels; p++) {
        fprintf(t->to, "%sconst value_%s x%" PRIu32 " = spread_%s(", indent, value, p, value);
        if (t->shape == NULL) {
            fprintf(t->to, "%c%s);\n", "xyz"[p / 8], near[p % 8]);
        } else {
            const uint32_t at =
                p * t->shape->in_channels * size_of(t->isa, t->family->in) + 4 * unit;
            fprintf(t->to, at > 0 ? "x + %" PRIu32 ");\n" : "x);\n", at);
        }
        for (uint32_t v = 0; v < t->vectors; v++) {
            fprintf(t->to, "%ss%" PRIu32 "_%" PRIu32 " = dot%s_%s(s%" PRIu32 "_%" PRIu32
                    ", x%" PRIu32 ", w%" PRIu32 ");\n", indent, p, v,
                    t->half && v + 1 == t->vectors ? "_half" : "", value, p, v, p, v);
        }
    }
}

/* The products of four units of one vector. To spread each value by a load takes a load for each
 * product, and some processors load a vector in the time of two products: so five pixels of twelve
 * load four units at once and spread them by instructions. */
static void emit_four_units(const struct tile *t, const char *indent)
{
    const char *value = t->family->value;
    for (uint32_t unit = 0; unit < 4; unit++) {
        fprintf(t->to, "%sconst weight_%s w%" PRIu32 " = load_%s(w + %" PRIu32 ");\n", indent,
                value, unit, value, unit * t->isa->lanes * 4);
    }
    for (uint32_t p = 0; p < t->pixels; p++) {
        const bool together = p * 5 % 12 < 5;
        fprintf(t->to, "%sconst uint8_t *at%" PRIu32 " = %c%s;\n%sMADE_HERE(at%" PRIu32 ");\n",
                indent, p, "xyz"[p / 8], near[p % 8], indent, p);
        if (together) {
            fprintf(t->to, "%sconst value_%s x%" PRIu32 " = four_%s(at%" PRIu32 ");\n", indent,
                    value, p, value, p);
        }
        for (uint32_t unit = 0; unit < 4; unit++) {
            fprintf(t->to, "%ss%" PRIu32 "_0 = dot_%s(s%" PRIu32 "_0, ", indent, p, value, p);
            if (together) {
                fprintf(t->to, "of_four_%s(x%" PRIu32 ", %" PRIu32 ")", value, p, unit);
            } else {
                fprintf(t->to, "spread_%s(at%" PRIu32 " + %" PRIu32 ")", value, p, 4 * unit);
            }
            fprintf(t->to, ", w%" PRIu32 ");\n", unit);
        }
    }
}

/* Whether the floats of a split tile have registers beside its sums, weights and one product. */
static bool floats_fit(const struct tile *t)
{
    return many_registers(t->isa) && 2 * t->pixels * t->vectors + t->vectors + 2 <= 32;
}

/* The floats of a split tile, to which the first value can be added like the others (end_floats has
 * what comes after the last). They are
 * named where there are registers for them, else in memory: gcc would keep some of them, and the
 * sums in memory. */
static void begin_floats(const struct tile *t)
{
    if (floats_fit(t)) {
        each_sum(t, "    vfloat v@p_@v = set_float(-0.0f);");
    } else {
        fprintf(t->to, "    enum { VECTORS = %" PRIu32 " };\n    float all[%" PRIu32
                " * VECTORS * LANES];\n", t->vectors, t->pixels);
        each_sum(t, "    store_float(all + (@p * VECTORS + @v) * LANES, set_float(-0.0f));");
    }
}

/* Adds the values of a kernel row's sums. */
static void add_floats(const struct tile *t)
{
    each_vector(t, "        const vfloat m@v = load_float(t->multiplier + own + @v * LANES);");
    each_vector(t, "        const vfloat h@v = load_float(t->shift + own + @v * LANES);");
    if (floats_fit(t)) {
        each_sum(t, "        v@p_@v = plus(v@p_@v, muladd(to_float(s@p_@v), m@v, h@v));");
    } else {
        each_sum(t, "        float *const at@p_@v = all + (@p * VECTORS + @v) * LANES;");
        each_sum(t, "        store_float(at@p_@v, plus(load_float(at@p_@v), "
                    "muladd(to_float(s@p_@v), m@v, h@v)));");
    }
}

static void end_floats(const struct tile *t)
{
    fputs("    const size_t last = t->kernel_height * t->padded;\n", t->to);
    each_vector(t, "    const vfloat m@v = load_float(t->multiplier + last + @v * LANES);");
    each_vector(t, "    const vfloat h@v = load_float(t->shift + last + @v * LANES);");
    if (floats_fit(t)) {
        each_sum(t, "    v@p_@v = muladd(v@p_@v, m@v, h@v);");
    } else {
        each_sum(t, "    const vfloat v@p_@v =\n"
                    "        muladd(load_float(all + (@p * VECTORS + @v) * LANES), m@v, h@v);");
    }
}

/* To the next `units` units of each base. */
static void emit_steps(const struct tile *t, uint32_t bases, uint32_t units)
{
    for (uint32_t i = 0; i < bases; i++) {
        fprintf(t->to, "            %c += %" PRIu32 ";\n", "xyz"[i], 4 * units);
    }
}

/* The products of value number p of those that `width` taps of t->pixels pixels read, with all
 * weights w0, w1... of which it is a tap. */
static void emit_taps(const struct tile *t, uint32_t p, uint32_t width)
{
    const char *value = t->family->value;
    for (uint32_t tap = 0; tap < width && tap <= p; tap++) {
        if (p - tap < t->pixels) {
            fprintf(t->to, "            s%" PRIu32 "_0 = dot_%s(s%" PRIu32 "_0, x%" PRIu32
                    ", w%" PRIu32 ");\n", p - tap, value, p - tap, p, tap);
        }
    }
}

/* Units of all taps together: t->slide of them. */
static void emit_general_slide(const struct tile *t)
{
    const char *value = t->family->value;
    const uint32_t vector_bytes = t->isa->lanes * 4;
    fprintf(t->to, "        KEEP_LOOP for (const uint8_t *end = x + c; x != end; x += 4) {\n"
            "            const uint8_t *from = w, *at = x;\n");
    for (uint32_t tap = 0; tap < t->slide; tap++) {
        fprintf(t->to, "            const weight_%s w%" PRIu32 " = load_%s(from);\n", value, tap,
                value);
        if (tap + 1 < t->slide) {
            fputs("            from += all;\n            MADE_HERE(from);\n", t->to);
        }
    }
    for (uint32_t p = 0; p < t->pixels + t->slide - 1; p++) {
        fprintf(t->to, "            const value_%s x%" PRIu32 " = spread_%s(at);\n", value, p,
                value);
        fputs("            at += c;\n            MADE_HERE(at);\n", t->to);
        emit_taps(t, p, t->slide);
    }
    fprintf(t->to, "            w += %" PRIu32 ";\n        }\n        w += %" PRIu32 " * all;\n",
            vector_bytes, t->slide - 1);
}

/* Units of any number, one after the other or, where loads are the bound, four. */
static void emit_general_units(const struct tile *t, uint32_t bases)
{
    fputs("        uint32_t unit = t->units;\n", t->to);
    if (t->isa->few_loads && t->vectors == 1) {
        fputs("        for (; unit >= 4; unit -= 4) {\n", t->to);
        emit_four_units(t, "            ");
        emit_steps(t, bases, 4);
        fprintf(t->to, "            w += %" PRIu32 ";\n        }\n", 4 * t->isa->lanes * 4);
    }
    fputs("        for (; unit > 0; unit--) {\n", t->to);
    emit_unit(t, "            ", 0);
    emit_steps(t, bases, 1);
    fprintf(t->to, "            w += %" PRIu32 ";\n        }\n", t->vectors * t->isa->lanes * 4);
}

/* Loops over kernel rows and units of any number. */
static void emit_general_loops(const struct tile *t)
{
    const uint32_t bases = t->slide != 0 ? 1 : (t->pixels + 7) / 8;
    if (t->slide != 0) {
        fprintf(t->to, "    const size_t all = c / 4 * %" PRIu32 "; /* units of a tap */\n",
                t->isa->lanes * 4);
    }
    fputs("    for (uint32_t ky = 0; ky < t->kernel_height; ky++) {\n"
          "        const uint8_t *x = (const uint8_t *)t->rows[ky] + pixel * c;\n", t->to);
    if (bases > 1) {
        fputs("        const uint8_t *y = x + 8 * c;\n", t->to);
    }
    if (bases > 2) {
        fputs("        const uint8_t *z = y + 8 * c;\n", t->to);
    }
    if (t->family->split) {
        fputs("        const size_t own = ky * t->padded;\n", t->to);
        each_vector(t, "        const vint b@v = load_int(t->bias + 4 * (own + @v * LANES));");
        each_sum(t, "        vint s@p_@v = b@v;");
    }
    if (t->slide != 0) {
        emit_general_slide(t);
    } else {
        emit_general_units(t, bases);
    }
    if (t->family->split) {
        add_floats(t);
    }
    fputs("    }\n", t->to);
}

/* Whether a unit of one pixel is also a unit of another. The compiler would then load it once and
 * keep it, and run out of registers. */
static bool units_meet(const struct tile *t, uint32_t units)
{
    const uint32_t step = t->shape->in_channels * size_of(t->isa, t->family->in);
    for (uint32_t p = 1; p < t->pixels; p++) {
        if (p * step % 4 == 0 && p * step / 4 < units) {
            return true;
        }
    }
    return false;
}

/* Whether the taps of a kernel row are taken together: a value is then spread once for all outputs
 * that it is a tap of. That needs registers for the weights of all taps beside the sums, and
 * changes the order of summation, which only integers bear: other tiles of a layer keep theirs. */
static bool slides(const struct tile *t)
{
    const uint32_t registers = many_registers(t->isa) ? 32 : 16; /* one is left to gcc */
    return t->family->quantised && t->isa->q8_values == 4 && t->vectors == 1 &&
           t->shape->kernel_width > 1 && t->shape->in_channels % t->isa->q8_values == 0 &&
           t->isa->tiles[0].most + t->shape->kernel_width + 1 < registers;
}

static void emit_sliding_loops(const struct tile *t)
{
    const char *value = t->family->value;
    const uint32_t width = t->shape->kernel_width;
    const uint32_t units = t->shape->in_channels / t->isa->q8_values;
    const uint32_t in_step = 4 * units, vector_bytes = t->isa->lanes * 4;
    fprintf(t->to, "    KEEP_LOOP for (uint32_t ky = 0; ky < %" PRIu32 "; ky++) {\n"
            "        const uint8_t *x = (const uint8_t *)t->rows[ky] + pixel * %" PRIu32 ";\n"
            "        KEEP_LOOP for (uint32_t unit = 0; unit < %" PRIu32 "; unit++) {\n",
            t->shape->kernel_height, in_step, units);
    for (uint32_t tap = 0; tap < width; tap++) {
        fprintf(t->to, "            const weight_%s w%" PRIu32 " = load_%s(w + %" PRIu32 ");\n",
                value, tap, value, tap * units * vector_bytes);
    }
    for (uint32_t p = 0; p < t->pixels + width - 1; p++) {
        fprintf(t->to, "            const value_%s x%" PRIu32 " = spread_%s(x + %" PRIu32 ");\n",
                value, p, value, p * in_step);
        emit_taps(t, p, width);
    }
    fprintf(t->to, "            x += 4;\n            w += %" PRIu32 ";\n        }\n"
            "        w += %" PRIu32 ";\n    }\n", vector_bytes,
            (width - 1) * units * vector_bytes);
}

/* Loops of known length. */
static void emit_shape_loops(const struct tile *t)
{
    if (slides(t)) {
        emit_sliding_loops(t);
        return;
    }
    const uint32_t size = size_of(t->isa, t->family->in);
    const uint32_t units = (t->shape->kernel_width * t->shape->in_channels * size + 3) / 4;
    const uint32_t row_bytes = t->vectors * t->isa->lanes * 4;
    const uint32_t height = t->shape->kernel_height, in_step = t->shape->in_channels * size;
    fprintf(t->to, "    KEEP_LOOP for (uint32_t ky = 0; ky < %" PRIu32 "; ky++) {\n"
            "        const uint8_t *x = (const uint8_t *)t->rows[ky] + pixel * %" PRIu32 ";\n",
            height, in_step);
    if (units <= WRITTEN_OUT && !units_meet(t, units)) {
        for (uint32_t unit = 0; unit < units; unit++) {
            fputs("        {\n", t->to);
            emit_unit(t, "            ", unit);
            fputs("        }\n", t->to);
        }
        fprintf(t->to, "        w += %" PRIu32 ";\n    }\n", units * row_bytes);
    } else {
        /* A length that the compiler does not know keeps it from writing the loop out. */
        fputs("        KEEP_LOOP for (uint32_t unit = t->units; unit > 0; unit--) {\n", t->to);
        emit_unit(t, "            ", 0);
        fprintf(t->to, "            x += 4;\n            w += %" PRIu32 ";\n        }\n    }\n",
                row_bytes);
    }
}

static void emit_tile(const struct tile *t)
{
    const struct family *f = t->family;
    fputs("\nstatic void ", t->to);
    name_tile(t);
    fputs("(const struct tile *t, size_t pixel)\n{\n", t->to);
    if (t->shape == NULL) {
        fputs("    const size_t c = t->in_step", t->to);
        for (uint32_t odd = 3; odd < 8; odd += 2) {
            if (t->pixels > odd && t->slide == 0) {
                fprintf(t->to, ", c%" PRIu32 " = %" PRIu32 " * c", odd, odd);
            }
        }
        fputs(";\n", t->to);
    }
    fputs("    const uint8_t *w = t->weights;\n", t->to);
    char one[100];
    if (f->split) {
        begin_floats(t);
    } else {
        snprintf(one, sizeof(one), "    const %s b@v = %s(t->bias + @v * LANES * 4);", f->sum,
                 f->quantised ? "load_int" : "load_float");
        each_vector(t, one);
        snprintf(one, sizeof(one), "    %s s@p_@v = b@v;", f->sum);
        each_sum(t, one);
    }
    if (t->shape == NULL) {
        emit_general_loops(t);
    } else {
        emit_shape_loops(t);
    }
    if (f->split) {
        end_floats(t);
    }
    fputs("    ", t->to);
    name_finish(t);
    fputs("(t, pixel, ", t->to);
    if (t->shape == NULL) {
        fputs("t->out_step", t->to);
    } else {
        fprintf(t->to, "%" PRIu32, t->shape->out_channels * size_of(t->isa, f->out));
    }
    fputs(",\n    ", t->to);
    list_sums(t, "", f->split ? 'v' : 's');
    fputs(");\n}\n", t->to);
}

/* ---- rows -------------------------------------------------------------------------------------*/

/* Pixels of the widest tile. A split one has floats beside the sums: where there are registers for
 * both it is half as wide. (Of steps that are shared out there must be more than 4 pixels are.) */
static uint32_t widest(const struct isa *isa, const struct family *family, uint32_t vectors)
{
    const uint32_t most = isa->tiles[vectors - 1].most, step = isa->tiles[vectors - 1].step;
    const uint32_t half = most / 2 / step * step;
    return family->split && many_registers(isa) && (half > 4 || step == 4) ? half : most;
}

/* Narrower tiles than half of the widest serve only rows of a few pixels: no shape has its own. */
static bool has_own(const struct tile *t)
{
    return 2 * t->pixels >= t->isa->tiles[t->vectors - 1].most;
}

/* Whether a shape, or the general family, has blocks of a tile's vectors. */
static bool has_vectors(const struct tile *t, const struct shape *shape)
{
    if (shape == NULL) {
        return true;
    }
    const struct srpi_row_blocks blocks =
        srpi_row_blocks(shape->out_channels, t->isa->lanes, t->isa->max_vectors);
    for (uint32_t b = 0; b < blocks.blocks; b++) {
        const struct srpi_row_block block = srpi_row_block(&blocks, b);
        if (block.vectors == t->vectors && block.half == t->half) {
            return true;
        }
    }
    return false;
}

/* Goes from the vectors of one kind of tile to those of the next, in the order of struct
 * tile_widths; false after the last. Begins at 0 vectors. */
static bool next_vectors(struct tile *t)
{
    if (++t->vectors > t->isa->max_vectors && !t->half) {
        t->half = true;
        t->vectors = srpi_row_half(t->isa->lanes + 1, t->isa->lanes) ? 2 : t->vectors;
    }
    return t->vectors <= t->isa->max_vectors;
}

/* Kernel widths for which the general family has tiles of one vector that take all taps of a row
 * together, as slides() has it for shapes: where loads are the bound, and whole units are whole
 * pixels. */
static const uint32_t slide_widths[] = {3, 5};
enum { SLIDES = sizeof(slide_widths) / sizeof(slide_widths[0]) };

static bool can_slide(const struct isa *isa, const struct family *family)
{
    return isa->few_loads && strcmp(family->value, "q8") == 0;
}

/* The table of a row function's tiles, `t` is one of them. */
static void emit_widths(struct tile t, const struct shape *shape)
{
    const uint32_t slide = t.slide;
    fputs("    static const struct tile_widths widths", t.to);
    if (slide != 0) {
        fprintf(t.to, "_%" PRIu32, slide);
    }
    fputs("[] = {\n", t.to);
    t.vectors = 0;
    t.half = false;
    for (uint32_t place = 0; next_vectors(&t); place++) {
        if (!has_vectors(&t, shape)) {
            continue;
        }
        const uint32_t step = t.isa->tiles[t.vectors - 1].step;
        const uint32_t most = widest(t.isa, t.family, t.vectors);
        t.slide = t.vectors == 1 ? slide : 0;
        fprintf(t.to, "        [%" PRIu32 "] = {%" PRIu32 ", %" PRIu32 ", {[%" PRIu32 "] = ",
                place, step, most / step, 4 / step);
        for (t.pixels = 4; t.pixels <= most; t.pixels += step) {
            t.shape = has_own(&t) ? shape : NULL;
            if (t.pixels > 4) {
                fputs(",\n            ", t.to);
            }
            name_tile(&t);
        }
        fputs("}},\n", t.to);
    }
    fputs("    };\n", t.to);
}

/* The tiles and the row function of one shape, or of the general family. */
static void emit_row(FILE *to, const struct isa *isa, const struct family *family,
                     const struct shape *shape)
{
    struct tile t = {.to = to, .isa = isa, .family = family, .shape = shape};
    char name[80];
    if (shape == NULL) {
        snprintf(name, sizeof(name), "%s_general", family->name);
        fprintf(to, "\n/* ---- %s: any shape ---- */\n", family->title);
    } else {
        snprintf(name, sizeof(name), "%s_%" PRIu32 "x%" PRIu32 "_%" PRIu32 "_%" PRIu32,
                 family->name, shape->kernel_height, shape->kernel_width, shape->in_channels,
                 shape->out_channels);
        fprintf(to,
                "\n/* ---- %s: kernel %" PRIu32 " x %" PRIu32 ", %" PRIu32 " to %" PRIu32
                " channels ---- */\n",
                family->title, shape->kernel_height, shape->kernel_width,
                shape->in_channels, shape->out_channels);
    }
    while (next_vectors(&t)) {
        const uint32_t step = isa->tiles[t.vectors - 1].step;
        const uint32_t most = widest(isa, family, t.vectors);
        /* No tile of two pixels: the shortest row counts as four, and longer ones are shared out
         * evenly. */
        for (t.pixels = 4; t.pixels <= most; t.pixels += step) {
            if (shape == NULL) {
                emit_finish(&t);
                emit_tile(&t);
            } else if (has_vectors(&t, shape) && has_own(&t)) {
                emit_tile(&t);
            }
        }
    }
    t.half = false;
    t.vectors = 1;
    for (uint32_t i = 0; shape == NULL && can_slide(isa, family) && i < SLIDES; i++) {
        t.slide = slide_widths[i];
        for (t.pixels = 4; t.pixels <= widest(isa, family, 1); t.pixels += isa->tiles[0].step) {
            emit_tile(&t);
        }
    }
    t.slide = 0;
    fprintf(to, "\nSRPI_ENTRY\n"
            "static void %s(const struct srpi_conv_layer *layer,\n"
            "    const struct srpi_conv_row *rows, uint32_t count)\n{\n", name);
    emit_widths(t, shape);
    fputs("    const struct tile_widths *of = widths;\n", to);
    if (shape == NULL && can_slide(isa, family)) {
        for (uint32_t i = 0; i < SLIDES; i++) {
            t.slide = slide_widths[i];
            emit_widths(t, NULL);
            fprintf(to, "    if (layer->shape.in_channels %% 4 == 0 &&\n"
                    "        layer->shape.kernel_width == %" PRIu32 ") {\n"
                    "        of = widths_%" PRIu32 ";\n    }\n", t.slide, t.slide);
        }
    }
    fprintf(to, "    run_rows(layer, rows, count, of, %" PRIu32 ", %" PRIu32 ");\n}\n",
            size_of(isa, family->in), size_of(isa, family->out));
}

/* Whether a shape has a kernel of its own in this set. */
static bool has_kernel(const struct isa *isa, int pair, const struct shape *shape)
{
    const struct srpi_conv_shape as_row = {
        .kernel_height = shape->kernel_height,
        .kernel_width = shape->kernel_width,
        .in_channels = shape->in_channels,
        .out_channels = shape->out_channels,
        .in = SRPI_Q8,
        .out = SRPI_F32};
    return isa->pairs[pair] && !families[pair].split &&
           !(isa->few != NULL && pair == PAIR_Q8_F32 && isa->few_has(&as_row));
}

/* The set that serves a shape when this one does not. */
static void emit_elsewhere(FILE *to, const struct isa *isa)
{
    if (isa->base == NULL && isa->narrow == NULL && isa->few == NULL) {
        return;
    }
    fputs("\n/* The set that has what this one lacks, or NULL. */\n"
          "SRPI_SETUP\n"
          "static const struct srpi_kernels *elsewhere(const struct srpi_conv_shape *shape)\n{\n",
          to);
    if (isa->base != NULL) {
        fputs("    switch (shape->in) {\n", to);
        for (int pair = 0; pair < PAIR_COUNT; pair++) {
            if (isa->pairs[pair] && (pair == 0 || !isa->pairs[pair - 1] ||
                                     strcmp(families[pair].in, families[pair - 1].in) != 0)) {
                fprintf(to, "    case SRPI_%s:\n", families[pair].in);
            }
        }
        fprintf(to, "        break;\n    default:\n        return &srpi_rows_%s.kernels;\n    }\n",
                isa->base);
    }
    if (isa->few != NULL) {
        fprintf(to, "    if (%s(shape)) {\n"
                "        return &srpi_rows_%s.kernels;\n    }\n", isa->few_suits, isa->few);
    }
    if (isa->narrow != NULL) {
        fprintf(to, "    if (shape->out_channels <= %" PRIu32 ") {\n"
                "        return &srpi_rows_%s.kernels;\n    }\n", isa->narrow_channels,
                isa->narrow);
    }
    fputs("    return NULL;\n}\n", to);
}

/* The first lines of a function that another set may have to answer for. */
static void forward(FILE *to, const struct isa *isa, const char *call)
{
    if (isa->base != NULL || isa->narrow != NULL || isa->few != NULL) {
        const bool nothing = strncmp(call, "pack(", 5) == 0;
        fprintf(to, "    const struct srpi_kernels *other = elsewhere(shape);\n"
                "    if (other != NULL) {\n        %sother->%s;\n%s    }\n",
                nothing ? "" : "return ", call, nothing ? "        return;\n" : "");
    }
}

static void emit_table(FILE *to, const struct isa *isa, const struct shape *shapes,
                       size_t shape_count)
{
    fputs("\n/* ---- which kernel for which shape ---- */\n", to);
    if (shape_count > 0) {
        fputs("\nstatic const struct srpi_row_kernel made[] = {\n", to);
        for (int pair = 0; pair < PAIR_COUNT; pair++) {
            for (size_t i = 0; i < shape_count; i++) {
                const struct family *f = &families[pair];
                const struct shape *s = &shapes[i];
                if (!has_kernel(isa, pair, s)) {
                    continue;
                }
                fprintf(to, "    {{%" PRIu32 ", %" PRIu32 ", %" PRIu32 ", %" PRIu32
                        ", SRPI_%s, SRPI_%s, false}, %s_%" PRIu32 "x%" PRIu32 "_%" PRIu32
                        "_%" PRIu32 ",\n     \"%s %s %" PRIu32 "x%" PRIu32 " %" PRIu32
                        "->%" PRIu32 "\"},\n",
                        s->kernel_height, s->kernel_width, s->in_channels, s->out_channels,
                        f->in, f->out, f->name, s->kernel_height, s->kernel_width, s->in_channels,
                        s->out_channels, isa->name, f->title, s->kernel_height, s->kernel_width,
                        s->in_channels, s->out_channels);
            }
        }
        fputs("};\n", to);
    }
    fputs("\nstatic const struct srpi_row_kernel general[] = {\n", to);
    for (int pair = 0; pair < PAIR_COUNT; pair++) {
        if (isa->pairs[pair]) {
            const struct family *f = &families[pair];
            fprintf(to, "    {{.in = SRPI_%s, .out = SRPI_%s%s}, %s_general, \"%s %s general\"},\n",
                    f->in, f->out, f->split ? ", .split = true" : "", f->name, isa->name,
                    f->title);
        }
    }
    fputs("};\n", to);
    emit_elsewhere(to, isa);
    fputs("\nSRPI_SETUP\n"
          "static srpi_conv_fn find(const struct srpi_conv_shape *shape, const char **name)\n"
          "{\n", to);
    forward(to, isa, "find(shape, name)");
    fprintf(to, "    return srpi_row_find(%s, general,\n"
            "                         sizeof(general) / sizeof(general[0]), shape, name);\n}\n",
            shape_count > 0 ? "made, sizeof(made) / sizeof(made[0])" : "NULL, 0");
}

static void emit_set(FILE *to, const struct isa *isa, size_t shape_count)
{
    fprintf(to, "\nstatic const struct srpi_row_layout layout = {\n"
            "    .lanes = LANES,\n    .max_vectors = TILE_VECTORS,\n"
            "    .q8_values = %" PRIu32 ",\n    .q8_planar = %s,\n};\n", isa->q8_values,
            isa->q8_planar ? "true" : "false");
    fputs("\nSRPI_SETUP\n"
          "static size_t packed_size(const struct srpi_conv_shape *shape)\n{\n", to);
    forward(to, isa, "packed_size(shape)");
    fputs("    return srpi_row_packed_size(&layout, shape);\n}\n"
          "\nSRPI_SETUP\n"
          "static void pack(const struct srpi_conv_shape *shape, const void *weights,\n"
          "    void *packed)\n{\n", to);
    forward(to, isa, "pack(shape, weights, packed)");
    fputs("    srpi_row_pack(&layout, shape, weights, packed);\n}\n", to);
    fprintf(to, "\nconst struct srpi_row_set srpi_rows_%s = {\n    .kernels = {\n"
            "        .isa = %s,\n        .name = \"%s\",\n        .storage = %s,\n"
            "        .has = {[SRPI_F32] = true, [SRPI_BF16] = %s, [SRPI_Q8] = true},\n"
            "        .packed_size = packed_size,\n        .pack = pack,\n        .find = find,\n"
            "    },\n", isa->name, isa->constant, isa->name, isa->storage,
            isa->has_bf16 ? "true" : "false");
    if (shape_count > 0) {
        fputs("    .made = made,\n    .made_count = sizeof(made) / sizeof(made[0]),\n", to);
    }
    if (isa->narrow != NULL) {
        fprintf(to, "    .narrow = &srpi_rows_%s,\n", isa->narrow);
    }
    fputs("};\n", to);
}

void emit_file(FILE *to, const struct isa *isa, const struct shape *shapes, size_t shape_count,
               const char *graphs, uint64_t hash)
{
    fprintf(to, "/* SPDX-License-Identifier: BSD-2-Clause */\n"
            "/* Written by codegen/srcc: do not edit. See docs/codegen.md.\n"
            " * Row kernels, %s. Hash of the graphs and this name: %016" PRIx64 "\n *", isa->name,
            hash);
    size_t column = 2;
    for (const char *name = shape_count > 0 ? graphs : ""; *name != '\0';) {
        const size_t length = strcspn(name, " ");
        if (column + 1 + length > 100) {
            fputs("\n *", to);
            column = 2;
        }
        fprintf(to, " %.*s", (int)length, name);
        column += 1 + length;
        name += length + (name[length] == ' ');
    }
    fprintf(to, " */\n#define TILE_VECTORS %" PRIu32 "\n#include \"kernels/vector_%s.h\"\n\n"
            "#include \"kernels/row_tile.h\"\n%s\n"
            "_Static_assert(LANES == %" PRIu32 ", \"srcc and vector_%s.h agree\");\n",
            isa->max_vectors, isa->name, isa->few != NULL ? "#include \"kernels/row_few.h\"\n" : "",
            isa->lanes, isa->name);
    for (int pair = 0; pair < PAIR_COUNT; pair++) {
        if (isa->pairs[pair]) {
            emit_row(to, isa, &families[pair], NULL);
            for (size_t i = 0; i < shape_count; i++) {
                if (has_kernel(isa, pair, &shapes[i])) {
                    emit_row(to, isa, &families[pair], &shapes[i]);
                }
            }
        }
    }
    emit_table(to, isa, shapes, shape_count);
    emit_set(to, isa, shape_count);
}
