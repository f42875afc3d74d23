/* SPDX-License-Identifier: BSD-2-Clause */
/* The checks of test_rows.c without cmocka, for another processor, with one of Winograd's kernels;
 * and the speed of row kernels.
 *   aid_rows check           every set that this machine can run
 *   aid_rows list            their names, then the one that is chosen
 *   aid_rows bench [NAME]    fraction of the machine's peak, shape by shape, of all sets or one
 *   aid_rows winograd [NAME] bands of rows by Winograd's kernels and row by row */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "kernel/rows.h"
#include "kernels/winograd_row.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { PIXELS = 480, RUNS = 1500 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* ---- what the arithmetic alone could do -------------------------------------------------------*/

#if defined(__x86_64__)

enum { ROUNDS = 500 };

/* Keeps what the compiler knows of a register from it, so that no round is left out. */
#define FORGET(v) __asm__ volatile("" : "+x"(v))
#define TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define DECLARE(k) \
    type s##k = {0}; \
    FORGET(s##k);
#define STEP(k) \
    FORGET(a); \
    s##k = ONE(s##k, a, b);
#define USE(k) FORGET(s##k);
/* 12 independent sums are enough for 2 operations a cycle of 4 to 5 cycles. */
#define PEAK(name, isa, of) \
    __attribute__((target(isa))) static void name(void) \
    { \
        typedef of type; \
        type a = {0}, b = {0}; \
        FORGET(a); \
        FORGET(b); \
        TWELVE(DECLARE) \
        for (int i = 0; i < ROUNDS; i++) { \
            TWELVE(STEP) \
        } \
        TWELVE(USE) \
    }

#define ONE(s, a, b) _mm256_fmadd_ps(a, b, s)
PEAK(peak_f32_256, "avx2,fma", __m256)
#undef ONE
typedef int32_t ints256 __attribute__((vector_size(32)));
#define ONE(s, a, b) \
    (ints256)_mm256_add_epi32((__m256i)s, _mm256_madd_epi16((__m256i)a, (__m256i)b))
PEAK(peak_madd_256, "avx2", ints256)
#undef ONE
#define ONE(s, a, b) _mm512_fmadd_ps(a, b, s)
PEAK(peak_f32_512, "avx512f", __m512)
#undef ONE
#define ONE(s, a, b) _mm512_dpbusd_epi32(s, a, b)
PEAK(peak_q8_512, "avx512f,avx512vnni", __m512i)
#undef ONE
#define ONE(s, a, b) _mm512_dpbf16_ps(s, (__m512bh)(a), (__m512bh)(b))
PEAK(peak_bf16_512, "avx512f,avx512bf16", __m512)
#undef ONE
#ifdef SRPI_ROWS_amx
/* TILES products of 16 x 16 x 64. The set's kernels have left tiles set up that may be of any size:
 * these are whole. */
enum { TILES = 4 * 60 };
__attribute__((target("amx-tile,amx-int8"))) static void peak_q8_tiles(void)
{
    static const struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t row_bytes[16];
        uint8_t rows[16];
    } tiles = {.palette = 1,
               .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
               .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
    __asm__ volatile("" : : "r"(&tiles) : "memory");
    _tile_loadconfig(&tiles);
    for (int i = 0; i < TILES; i += 4) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_release();
}
#endif
#ifdef SRPI_ROWS_avxvnni
#define ONE(s, a, b) \
    (ints256)_mm256_dpbusd_avx_epi32((__m256i)s, (__m256i)a, (__m256i)b)
PEAK(peak_q8_256, "avx2,avxvnni", ints256)
#undef ONE
#endif

static double fastest(void (*run)(void))
{
    double best = 1e30;
    for (int i = 0; i < RUNS; i++) {
        const double start = now();
        run();
        const double took = now() - start;
        best = took < best ? took : best;
    }
    return best;
}

/* Multiply-adds in a nanosecond. */
static double peak(enum srpi_isa isa, enum srpi_dtype in)
{
    const double operations = 12.0 * ROUNDS;
    switch (isa) {
    case SRPI_ISA_AVX2:
        return in == SRPI_F32 ? operations * 8 / fastest(peak_f32_256)
                              : operations * 16 / fastest(peak_madd_256);
#ifdef SRPI_ROWS_avxvnni
    case SRPI_ISA_AVXVNNI:
        return in == SRPI_F32 ? operations * 8 / fastest(peak_f32_256)
                              : operations * 32 / fastest(peak_q8_256);
#endif
    case SRPI_ISA_AVX512:
    case SRPI_ISA_AVX512BF16:
    case SRPI_ISA_AMX:
#ifdef SRPI_ROWS_amx
        if (isa == SRPI_ISA_AMX && in == SRPI_Q8) {
            return TILES * 16.0 * 16 * 64 / fastest(peak_q8_tiles);
        }
#endif
        return in == SRPI_F32    ? operations * 16 / fastest(peak_f32_512)
               : in == SRPI_BF16 ? operations * 32 / fastest(peak_bf16_512)
                                 : operations * 64 / fastest(peak_q8_512);
    default:
        return 0.0;
    }
}

#else

static double peak(enum srpi_isa isa, enum srpi_dtype in)
{
    (void)isa, (void)in;
    return 0.0;
}

#endif

/* ---- what the kernels do ----------------------------------------------------------------------*/

static void bench_shape(const struct srpi_kernels *k, const struct srpi_conv_shape *shape,
                        const char *form, bool residual)
{
    const struct wish wish = {.shape = *shape, .pixels = PIXELS, .has_residual = residual};
    struct srpi_conv_shape general = *shape;
    struct trial t;
    const char *name = NULL;
    uint32_t seed = 3;
    srpi_conv_fn fn = k->find(shape, &name);
    if (strcmp(form, "general") == 0) {
        general.in_channels = general.kernel_height = 0; /* no such shape */
        fn = k->find(&general, &name);
    }
    trial_create(&t, k, &wish, &seed);
    double best = 1e30;
    for (int i = 0; i < RUNS; i++) {
        const double start = now();
        fn(&t.layer, &t.row, 1);
        const double took = now() - start;
        best = took < best ? took : best;
    }
    trial_destroy(&t);
    const double products = (double)PIXELS * shape->kernel_height * shape->kernel_width *
                            shape->in_channels * shape->out_channels;
    const double most = peak(k->isa, shape->in);
    printf("%-34s %ux%u %3u->%-3u %8.1f us %7.1f Gop/s", name, shape->kernel_height,
           shape->kernel_width, shape->in_channels, shape->out_channels, best / 1e3,
           2.0 * products / best);
    if (most > 0.0) {
        printf(" %5.1f %% of %.0f", 100.0 * products / best / most, 2.0 * most);
    }
    printf("%s\n", residual ? "  residual" : "");
}

static void bench(const struct srpi_kernels *k)
{
    static const uint32_t shapes[][3] = {{3, 32, 64}, {3, 64, 32},  {3, 32, 48}, {3, 32, 32},
                                         {3, 16, 16}, {3, 128, 32}, {3, 1, 16},  {3, 3, 32},
                                         {3, 8, 8},   {5, 3, 48},   {3, 16, 4},  {3, 32, 12},
                                         {3, 8, 4},   {3, 32, 4},   {3, 20, 20}, {5, 24, 24},
                                         {3, 16, 40}, {7, 24, 24}};
    for (uint32_t pair = 0; pair < DTYPE_PAIRS; pair++) {
        if (!k->has[dtype_pairs[pair].in]) {
            continue;
        }
        for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
            const struct srpi_conv_shape shape = {shapes[i][0], shapes[i][0], shapes[i][1],
                                                  shapes[i][2], dtype_pairs[pair].in,
                                                  dtype_pairs[pair].out, false};
            bench_shape(k, &shape, "made", false);
            if (i < 5) {
                bench_shape(k, &shape, "general", false);
            }
            if (i == 1) {
                bench_shape(k, &shape, "made", true);
            }
        }
    }
}

/* ---- Winograd against them --------------------------------------------------------------------*/

/* Memory with some values in it. */
static char *filled(size_t bytes, uint32_t *seed, enum srpi_dtype dtype, enum srpi_q8_storage storage)
{
    char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (memory == NULL) {
        perror("aid_rows");
        exit(1);
    }
    if (dtype == SRPI_F32) {
        noise_fill((float *)(void *)memory, bytes / 4, seed);
    } else {
        const size_t step = storage == SRPI_Q8_U16 ? 2 : 1;
        memset(memory, 0, bytes);
        for (size_t i = 0; i < bytes; i += step) {
            memory[i] = (char)(noise(seed) & 127);
        }
    }
    return memory;
}

/* One layer by both, from the same rows. */
struct rig {
    const struct srpi_kernels *k;
    const struct srpi_winograd_kernels *w;
    srpi_conv_fn direct;
    struct srpi_conv_layer layer;
    struct srpi_winograd_rows rows;
    void *packed[2]; /* for `direct`, for `w` */
    char *from, *to, *weights;
    size_t out; /* bytes from one output row to the next */
    float *vector;
    int32_t *bias;
};

static void rig_create(struct rig *rig, const struct srpi_kernels *k,
                       const struct srpi_winograd_kernels *w, const struct srpi_conv_shape *shape,
                       uint32_t pixels)
{
    const char *name = NULL;
    const size_t in = shape->in_channels * srpi_element_size(k, shape->in) * (pixels + 12) + 512;
    const size_t lanes = 64 * ((shape->out_channels + 63) / 64 + 1);
    uint32_t seed = 3;
    *rig = (struct rig){.k = k, .w = w, .direct = k->find(shape, &name)};
    rig->out = shape->out_channels * srpi_element_size(k, shape->out) * (pixels + 8) + 512;
    rig->from = filled((shape->kernel_height + 3) * in, &seed, shape->in, k->storage);
    rig->to = filled(4 * rig->out, &seed, shape->out, k->storage);
    rig->weights = filled(sizeof(float) * shape->kernel_height * shape->kernel_width *
                              shape->in_channels * shape->out_channels, &seed, shape->in,
                          SRPI_Q8_U8);
    rig->packed[0] = filled(k->packed_size(shape) + 256, &seed, SRPI_Q8, SRPI_Q8_U8);
    rig->packed[1] = filled(w->packed_size(shape) + 256, &seed, SRPI_Q8, SRPI_Q8_U8);
    rig->vector = (float *)(void *)filled(lanes * 4, &seed, SRPI_F32, k->storage);
    rig->bias = (int32_t *)(void *)filled(lanes * 4, &seed, SRPI_Q8, SRPI_Q8_U16);
    rig->layer = (struct srpi_conv_layer){
        .shape = *shape, .multiplier = rig->vector, .shift = rig->vector,
        .bias = shape->in == SRPI_F32 ? (void *)rig->vector : (void *)rig->bias};
    rig->rows = (struct srpi_winograd_rows){
        .pixels = pixels,
        .scratch = filled(w->scratch_size(shape), &seed, SRPI_Q8, SRPI_Q8_U8)};
    k->pack(shape, rig->weights, rig->packed[0]);
    w->pack(shape, rig->weights, rig->packed[1]);
    for (uint32_t r = 0; r < shape->kernel_height + 3; r++) {
        rig->rows.rows[r] = rig->from + r * in;
    }
    for (uint32_t r = 0; r < 4; r++) {
        rig->rows.out[r] = rig->to + r * rig->out;
    }
}

static void rig_free(struct rig *rig)
{
    void *const all[] = {rig->from,   rig->to,   rig->weights,     rig->packed[0], rig->packed[1],
                         rig->vector, rig->bias, rig->rows.scratch};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        free(all[i]);
    }
}

static void run_direct(struct rig *rig)
{
    struct srpi_conv_row row = {.pixels = rig->rows.pixels};
    rig->layer.weights = rig->packed[0];
    for (uint32_t r = 0; r < 4; r++) {
        row.rows = rig->rows.rows + r;
        row.out = rig->rows.out[r];
        rig->direct(&rig->layer, &row, 1);
    }
}

static void run_winograd(struct rig *rig)
{
    rig->layer.weights = rig->packed[1];
    rig->w->fn(&rig->layer, &rig->rows, 1);
}

static void bench_winograd(const struct srpi_kernels *k, const struct srpi_winograd_kernels *w,
                           const struct srpi_conv_shape *shape)
{
    struct rig rig;
    double best[2] = {1e30, 1e30};
    const uint32_t taps = shape->kernel_height * shape->kernel_width;
    rig_create(&rig, k, w, shape, PIXELS);
    for (uint32_t i = 0; i < RUNS * 9 / taps; i++) {
        const double start = now();
        run_direct(&rig);
        const double middle = now();
        run_winograd(&rig);
        best[0] = fmin(best[0], middle - start);
        best[1] = fmin(best[1], now() - middle);
    }
    const double products =
        4.0 * PIXELS * taps * shape->in_channels * shape->out_channels;
    printf("%-22s %ux%u %3u -> %3u %-5s %8.1f us, direct %8.1f us: %.2f times, %.0f Gop/s%s\n",
           w->name, shape->kernel_height, shape->kernel_width, shape->in_channels,
           shape->out_channels, shape->out == SRPI_F32 ? "f32" : "int8",
           best[1] / 1e3, best[0] / 1e3, best[0] / best[1], 2.0 * products / best[1],
           w->suits(shape) ? "" : "  not used");
    rig_free(&rig);
}

/* f32 against the direct kernels, for processors that test_winograd_f32 cannot be run on. */
static const char *check_winograd(const struct srpi_kernels *k)
{
    uint32_t seed = 7;
    for (const struct srpi_winograd_kernels *const *w = srpi_winograd_all(k->isa); *w != NULL; w++) {
        for (int i = 0; (*w)->in == SRPI_F32 && i < 60; i++) {
            const struct srpi_conv_shape shape = {
                .kernel_height = 3 + noise(&seed) % 3 * 2, .kernel_width = 3 + noise(&seed) % 3 * 2,
                .in_channels = 1 + noise(&seed) % 40, .out_channels = 1 + noise(&seed) % 40};
            const uint32_t pixels = 1 + noise(&seed) % 60, count = pixels * shape.out_channels;
            /* That of test_winograd_f32, for sums of so many products of order 1 */
            const uint32_t windows = shape.kernel_height / 2 * (shape.kernel_width / 2);
            const float bound = (windows == 1 ? 1e-5f : 1.5e-5f * sqrtf((float)windows)) *
                                sqrtf((float)(shape.in_channels * shape.kernel_height *
                                              shape.kernel_width));
            struct rig rig;
            rig_create(&rig, k, *w, &shape, pixels);
            run_direct(&rig);
            char *other = rig.to;
            rig.to = filled(4 * rig.out, &seed, SRPI_F32, k->storage);
            for (uint32_t r = 0; r < 4; r++) {
                rig.rows.out[r] = rig.to + r * rig.out;
            }
            run_winograd(&rig);
            bool same = true;
            for (uint32_t r = 0; r < 4; r++) {
                const float *a = (const float *)(const void *)(rig.to + r * rig.out);
                const float *b = (const float *)(const void *)(other + r * rig.out);
                for (uint32_t n = 0; n < count; n++) {
                    same = same && fabsf(a[n] - b[n]) <= bound;
                }
            }
            free(other);
            rig_free(&rig);
            if (!same) {
                return (*w)->name;
            }
        }
    }
    return NULL;
}

static void winograd(const struct srpi_kernels *k)
{
    static const uint32_t shapes[][2] = {{32, 64}, {64, 32}, {32, 48}, {32, 32}, {64, 64}, {32, 27},
                                         {32, 12}, {24, 24}, {16, 32}, {16, 16}, {56, 4}, {32, 4},
                                         {16, 4}, {16, 1}, {16, 8}, {8, 8}};
    for (const struct srpi_winograd_kernels *const *w = srpi_winograd_all(k->isa); *w != NULL; w++) {
        for (uint32_t taps = 3; taps <= SRPI_WINOGRAD_TAPS; taps += 2) {
            for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
                const struct srpi_conv_shape shape = {
                    .kernel_height = taps, .kernel_width = taps,
                    .in_channels = shapes[i][0], .out_channels = shapes[i][1], .in = (*w)->in,
                    .out = shapes[i][1] % 16 == 0 ? (*w)->in : SRPI_F32};
                bench_winograd(k, *w, &shape);
            }
        }
    }
}

static int check(const struct srpi_kernels *k)
{
    const char *why = check_random(k, 300);
    why = why != NULL ? why : check_widths(k);
    why = why != NULL ? why : check_runs(k);
    why = why != NULL ? why : check_rows_together(k);
    why = why != NULL ? why : check_split(k);
    why = why != NULL ? why : check_few(k);
    why = why != NULL ? why : check_made(k);
    why = why != NULL ? why : check_golden(k);
    why = why != NULL ? why : check_winograd(k);
    printf("%s: %s\n", k->name, why != NULL ? why : "ok");
    return why != NULL;
}

int main(int argc, char **argv)
{
    const bool checking = argc == 2 && strcmp(argv[1], "check") == 0;
    const bool listing = argc == 2 && strcmp(argv[1], "list") == 0;
    const bool transformed = argc >= 2 && strcmp(argv[1], "winograd") == 0;
    if (!checking && !listing &&
        (argc < 2 || argc > 3 || (!transformed && strcmp(argv[1], "bench") != 0))) {
        fprintf(stderr, "usage: aid_rows check | list | bench [NAME] | winograd [NAME]\n");
        return 2;
    }
    int failed = 0;
    for (int isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        const struct srpi_kernels *k = srpi_kernels_of((enum srpi_isa)isa);
        if (k != NULL && checking) {
            failed |= check(k);
        } else if (k != NULL && listing) {
            printf("%s\n", k->name);
        } else if (k != NULL && (argc < 3 || strcmp(argv[2], k->name) == 0)) {
            (transformed ? winograd : bench)(k);
        }
    }
    if (listing) {
        printf("%s\n", srpi_kernels_best()->name);
    }
    return failed;
}
