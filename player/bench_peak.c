/* SPDX-License-Identifier: BSD-2-Clause */
/* What this machine could do at best: arithmetic out of registers alone, and reading memory. Every
 * kernel is compiled for its own instruction set and only called when the processor has it. */
#include <getopt.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <srp/limits.h>

#include "bench.h"
#include "tool.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define X86 1
#include <cpuid.h>
#include <immintrin.h>
#else
#define X86 0
#endif

enum { REPEATS = 15, CALIBRATION_NS = 20000000, SEEDS = 128 };
static const size_t read_least = (size_t)256 << 20, read_most = (size_t)2 << 30;

/* `rounds` rounds of arithmetic, or one reading of `size` bytes. `seed`: SEEDS floats, all
 * different and unknown to the compiler, so that no accumulators can be merged. The result is only
 * there to be needed. */
typedef uint32_t kernel_fn(uint64_t rounds, const float *seed, const uint8_t *data, size_t size);

struct kernel {
    const char *name; /* of the method */
    kernel_fn *run;   /* NULL: this machine has no such instruction */
    double ops; /* of one round: 2 per multiply-accumulate; 0: reads memory, counted in bytes */
};

/* Makes the compiler forget what it knows of a value held in a vector register. */
#define FORGET(v) __asm__ volatile("" : "+x"(v))

/* 24 accumulators hide the latency where there are 32 vector registers. AVX2 has 16: 12
 * accumulators and the operands fill them (24 would spill to memory), and 12 cover the 8 to 10
 * operations in flight. */
#define REPEAT6(X) X(0) X(1) X(2) X(3) X(4) X(5)
#define REPEAT8(X) REPEAT6(X) X(6) X(7)
#define REPEAT12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define REPEAT24(X) \
    REPEAT12(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)

#if X86

#define LOAD256(k) __m256 acc##k = _mm256_loadu_ps(seed + k);
#define LOAD256I(k) __m256i acc##k = _mm256_loadu_si256((const __m256i *)(const void *)(seed + k));
#define LOAD512(k) __m512 acc##k = _mm512_loadu_ps(seed + k);
#define LOAD512I(k) __m512i acc##k = _mm512_loadu_si512(seed + k);
#define MIX256(k) total = _mm256_xor_si256(total, _mm256_castps_si256(acc##k));
#define MIX256I(k) total = _mm256_xor_si256(total, acc##k);
#define MIX512(k) total = _mm512_xor_si512(total, _mm512_castps_si512(acc##k));
#define MIX512I(k) total = _mm512_xor_si512(total, acc##k);

#define FMA256(k) acc##k = _mm256_fmadd_ps(a, b, acc##k);
#define FMA512(k) acc##k = _mm512_fmadd_ps(a, b, acc##k);
/* Six products, then their additions: a Zen 3 then does 5 % more than of each product and its
 * addition in turn. FORGET keeps the order, and the product, which is the same every time, in the
 * loop. */
#define MADD256(k) \
    FORGET(a); \
    p##k = _mm256_madd_epi16(a, b);
#define KEEP256(k) FORGET(p##k);
#define ADD256(k, to) \
    acc##to = _mm256_add_epi32(acc##to, p##k); \
    FORGET(acc##to);
#define SIX256(a0, a1, a2, a3, a4, a5) \
    REPEAT6(MADD256) REPEAT6(KEEP256) ADD256(0, a0) ADD256(1, a1) ADD256(2, a2) ADD256(3, a3) \
    ADD256(4, a4) ADD256(5, a5)
#define DOT256(k) acc##k = _mm256_dpbusd_avx_epi32(acc##k, a, b);
#define DOT512(k) acc##k = _mm512_dpbusd_epi32(acc##k, a, b);
#define BF16_512(k) acc##k = _mm512_dpbf16_ps(acc##k, a, b);

#define ROUNDS(ops) \
    for (uint64_t i = 0; i < rounds; i++) { \
        ops \
    }
#define UNUSED_DATA (void)data, (void)size

__attribute__((target("avx2,fma"))) static uint32_t fp32_fma256(uint64_t rounds, const float *seed,
                                                                const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    REPEAT12(LOAD256)
    __m256 a = _mm256_loadu_ps(seed + 32), b = _mm256_loadu_ps(seed + 48);
    ROUNDS(REPEAT12(FMA256))
    __m256i total = _mm256_setzero_si256();
    REPEAT12(MIX256)
    return (uint32_t)_mm256_extract_epi32(total, 0);
}

__attribute__((target("avx512f"))) static uint32_t fp32_fma512(uint64_t rounds, const float *seed,
                                                               const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    REPEAT24(LOAD512)
    __m512 a = _mm512_loadu_ps(seed + 48), b = _mm512_loadu_ps(seed + 64);
    ROUNDS(REPEAT24(FMA512))
    __m512i total = _mm512_setzero_si512();
    REPEAT24(MIX512)
    return (uint32_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(total));
}

__attribute__((target("avx2"))) static uint32_t int8_madd256(uint64_t rounds, const float *seed,
                                                             const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    REPEAT8(LOAD256I)
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(seed + 32));
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(seed + 48));
    __m256i p0, p1, p2, p3, p4, p5;
    ROUNDS(SIX256(0, 1, 2, 3, 4, 5) SIX256(6, 7, 0, 1, 2, 3) SIX256(4, 5, 6, 7, 0, 1)
               SIX256(2, 3, 4, 5, 6, 7))
    __m256i total = _mm256_setzero_si256();
    REPEAT8(MIX256I)
    return (uint32_t)_mm256_extract_epi32(total, 0);
}

__attribute__((target("avx2,avxvnni"))) static uint32_t
int8_dot256(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    REPEAT12(LOAD256I)
    __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(seed + 32));
    __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(seed + 48));
    ROUNDS(REPEAT12(DOT256))
    __m256i total = _mm256_setzero_si256();
    REPEAT12(MIX256I)
    return (uint32_t)_mm256_extract_epi32(total, 0);
}

__attribute__((target("avx512f,avx512vnni"))) static uint32_t
int8_dot512(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    REPEAT24(LOAD512I)
    __m512i a = _mm512_loadu_si512(seed + 48), b = _mm512_loadu_si512(seed + 64);
    ROUNDS(REPEAT24(DOT512))
    __m512i total = _mm512_setzero_si512();
    REPEAT24(MIX512I)
    return (uint32_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(total));
}

#ifdef SRPI_ROWS_amx
/* As ldtilecfg has it: eight tiles of 16 rows of 64 bytes. */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tiles = {.palette = 1,
           .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},
           .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Four sums hide the latency of 52 cycles: a product takes 16. */
__attribute__((target("amx-tile,amx-int8"))) static uint32_t
int8_tile(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    uint32_t values[256];
    for (size_t i = 0; i < sizeof values; i += 256) {
        memcpy((uint8_t *)values + i, seed, 256);
    }
    __asm__ volatile("" : : "r"(values), "r"(&tiles) : "memory");
    _tile_loadconfig(&tiles);
    _tile_loadd(4, values, 64);
    _tile_loadd(5, values, 64);
    _tile_loadd(6, values, 64);
    _tile_loadd(7, values, 64);
    for (uint64_t i = 0; i < rounds; i++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    _tile_stored(3, values, 64);
    __asm__ volatile("" : : "r"(values) : "memory");
    _tile_release();
    return values[0];
}
#endif

__attribute__((target("avx512f,avx512bf16"))) static uint32_t
bf16_dot512(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    UNUSED_DATA;
    REPEAT24(LOAD512)
    __m512bh a = (__m512bh)_mm512_loadu_si512(seed + 48),
             b = (__m512bh)_mm512_loadu_si512(seed + 64);
    ROUNDS(REPEAT24(BF16_512))
    __m512i total = _mm512_setzero_si512();
    REPEAT24(MIX512)
    return (uint32_t)_mm_cvtsi128_si32(_mm512_castsi512_si128(total));
}

__attribute__((target("avx2"))) static uint32_t read256(uint64_t rounds, const float *seed,
                                                        const uint8_t *data, size_t size)
{
    (void)rounds, (void)seed;
    __m256i total[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                        _mm256_setzero_si256()};
    for (size_t i = 0; i + 128 <= size; i += 128) {
        const __m256i *p = (const __m256i *)(const void *)(data + i);
        total[0] = _mm256_xor_si256(total[0], _mm256_load_si256(p));
        total[1] = _mm256_xor_si256(total[1], _mm256_load_si256(p + 1));
        total[2] = _mm256_xor_si256(total[2], _mm256_load_si256(p + 2));
        total[3] = _mm256_xor_si256(total[3], _mm256_load_si256(p + 3));
    }
    total[0] = _mm256_xor_si256(_mm256_xor_si256(total[0], total[1]),
                                _mm256_xor_si256(total[2], total[3]));
    return (uint32_t)_mm256_extract_epi32(total[0], 0);
}

/* Asked directly because clang 14's __builtin_cpu_supports has no name for it. */
static bool has_avxvnni(void)
{
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __builtin_cpu_supports("avx2") && __get_cpuid_count(7, 1, &a, &b, &c, &d) &&
           (a >> 4 & 1);
}

#endif

/* Plain C for every other processor; what the compiler makes of it is the figure. */
static uint32_t fp32_c(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    (void)data, (void)size;
    float acc[32], a = seed[32], b = seed[48];
    uint32_t total = 0;
    memcpy(acc, seed, sizeof acc);
    for (uint64_t i = 0; i < rounds; i++) {
        for (int k = 0; k < 32; k++) {
            acc[k] = acc[k] * a + b;
        }
    }
    for (int k = 0; k < 32; k++) {
        total += acc[k] > 0.5f;
    }
    return total;
}

static uint32_t int8_c(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    (void)data, (void)size;
    uint8_t a[64];
    int8_t b[64];
    int32_t acc[16] = {0};
    memcpy(a, seed, sizeof a);
    memcpy(b, seed + 16, sizeof b);
    for (uint64_t i = 0; i < rounds; i++) {
        __asm__ volatile("" : : "r"(a), "r"(b) : "memory");
        for (int k = 0; k < 16; k++) {
            int32_t sum = 0;
            for (int j = 0; j < 4; j++) {
                sum += a[4 * k + j] * b[4 * k + j];
            }
            acc[k] = (int32_t)((uint32_t)acc[k] + (uint32_t)sum);
        }
    }
    uint32_t total = 0;
    for (int k = 0; k < 16; k++) {
        total ^= (uint32_t)acc[k];
    }
    return total;
}

static uint32_t read_c(uint64_t rounds, const float *seed, const uint8_t *data, size_t size)
{
    (void)rounds, (void)seed;
    uint64_t total[8] = {0};
    for (size_t i = 0; i + 64 <= size; i += 64) {
        uint64_t v[8];
        memcpy(v, data + i, sizeof v);
        for (int k = 0; k < 8; k++) {
            total[k] ^= v[k];
        }
    }
    return (uint32_t)(total[0] ^ total[1] ^ total[2] ^ total[3] ^ total[4] ^ total[5] ^ total[6] ^
                      total[7]);
}

enum { FP32, INT8, INT8_TILE, BF16, READ, KERNELS };

/* Whether the processor has it, and SRP_CPU does not ask for less: then the yardstick is what our
 * kernels may use. */
static bool may_use(bool has, const char *const *isas)
{
    if (!has || getenv("SRP_CPU") == NULL) {
        return has;
    }
    const char *isa = srp_isa();
    for (; *isas != NULL; isas++) {
        if (strcmp(isa, *isas) == 0) {
            return true;
        }
    }
    return false;
}

static void choose(struct kernel kernel[KERNELS])
{
    kernel[FP32] = (struct kernel){"plain C", fp32_c, 2.0 * 32};
    kernel[INT8] = (struct kernel){"plain C", int8_c, 2.0 * 64};
    kernel[INT8_TILE] = (struct kernel){"no int8 tile product instruction", NULL, 0.0};
    kernel[BF16] = (struct kernel){"no bf16 dot product instruction", NULL, 0.0};
    kernel[READ] = (struct kernel){"64-bit loads", read_c, 0.0};
#if X86
    static const char *const all[] = {"avx2",       "avxvnni", "avx512",
                                      "avx512bf16", "amx",     NULL};
    static const char *const vnni[] = {"avxvnni", NULL};
    static const char *const wide[] = {"avx512", "avx512bf16", "amx", NULL};
    static const char *const bf16[] = {"avx512bf16", "amx", NULL};
    __builtin_cpu_init();
    if (may_use(__builtin_cpu_supports("avx2"), all)) {
        /* exact for all bytes; vpmaddubsw would saturate */
        kernel[INT8] = (struct kernel){"avx2 vpmaddwd + vpaddd", int8_madd256, 2.0 * 24 * 16};
        kernel[READ] = (struct kernel){"avx2 loads", read256, 0.0};
        if (__builtin_cpu_supports("fma")) {
            kernel[FP32] = (struct kernel){"avx2 vfmadd", fp32_fma256, 2.0 * 12 * 8};
        }
    }
    if (may_use(has_avxvnni(), vnni)) {
        kernel[INT8] = (struct kernel){"avx-vnni 256 vpdpbusd", int8_dot256, 2.0 * 12 * 32};
    }
    if (may_use(__builtin_cpu_supports("avx512f"), wide)) {
        kernel[FP32] = (struct kernel){"avx512 vfmadd", fp32_fma512, 2.0 * 24 * 16};
    }
    if (may_use(__builtin_cpu_supports("avx512vnni"), wide)) {
        kernel[INT8] = (struct kernel){"avx512-vnni vpdpbusd", int8_dot512, 2.0 * 24 * 64};
    }
    if (may_use(__builtin_cpu_supports("avx512bf16"), bf16)) {
        kernel[BF16] = (struct kernel){"avx512-bf16 vdpbf16ps", bf16_dot512, 2.0 * 24 * 32};
    }
#ifdef SRPI_ROWS_amx
    /* The library has asked the system for leave. */
    if (strcmp(srp_isa(), "amx") == 0) {
        kernel[INT8_TILE] = (struct kernel){"amx tdpbusd", int8_tile, 2.0 * 4 * 16 * 16 * 64};
    }
#endif
#endif
}

/* ---- measurement --------------------------------------------------------------------------------
 */

struct team;

struct worker {
    struct team *team;
    pthread_t thread;
    uint8_t *data; /* what it reads, its own */
    uint64_t begin[REPEATS], end[REPEATS];
    volatile uint32_t result;
};

struct team {
    const struct kernel *kernel;
    uint64_t rounds;
    size_t size; /* bytes that each worker reads; 0: arithmetic */
    float seed[SEEDS];
    uint32_t threads;
    pthread_barrier_t barrier;
    pthread_mutex_t lock;
    pthread_cond_t decided;
    int go; /* guarded by lock; 0: wait, 1: run, -1: leave, because not all could be started */
    struct worker worker[SRP_MAX_THREADS];
};

static void *work(void *opaque)
{
    struct worker *w = opaque;
    struct team *t = w->team;
    pthread_mutex_lock(&t->lock);
    while (t->go == 0) {
        pthread_cond_wait(&t->decided, &t->lock);
    }
    int go = t->go;
    pthread_mutex_unlock(&t->lock);
    if (go < 0) {
        return NULL;
    }
    if (w->data) {
        memset(w->data, 1, t->size); /* its pages are placed by the thread that reads them */
    }
    w->result = t->kernel->run(t->rounds / 4, t->seed, w->data, t->size);
    for (int r = 0; r < REPEATS; r++) {
        pthread_barrier_wait(&t->barrier);
        w->begin[r] = sp_tool_now();
        w->result = t->kernel->run(t->rounds, t->seed, w->data, t->size);
        w->end[r] = sp_tool_now();
    }
    return NULL;
}

static uint64_t calibrate(const struct kernel *kernel, const float *seed)
{
    uint64_t rounds = 1000, ns = 0;
    volatile uint32_t result = 0;
    while (rounds < (uint64_t)1 << 40) {
        uint64_t begin = sp_tool_now();
        result ^= kernel->run(rounds, seed, NULL, 0);
        ns = sp_tool_now() - begin;
        if (ns >= CALIBRATION_NS / 2) {
            break;
        }
        rounds *= 2;
    }
    (void)result;
    return ns ? (uint64_t)((double)rounds * CALIBRATION_NS / (double)ns) : rounds;
}

/* Operations or bytes per second of all threads together, or < 0 when threads or memory could not
 * be had. A repeat lasts from the first thread's begin to the last one's end. */
static double measure(const struct kernel *kernel, uint32_t threads, size_t size)
{
    double rate = -1.0, seconds[REPEATS];
    uint32_t started = 0;
    struct team *t = calloc(1, sizeof *t);
    if (!t) {
        return rate;
    }
    t->kernel = kernel;
    t->threads = threads;
    t->size = size;
    for (int i = 0; i < SEEDS; i++) {
        t->seed[i] = 1.0e-3f + 1.0e-5f * (float)(i + 1) * (float)(1 + (getpid() & 1));
    }
    t->rounds = size ? 0 : calibrate(kernel, t->seed);
    pthread_barrier_init(&t->barrier, NULL, threads);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->decided, NULL);
    for (; started < threads; started++) {
        struct worker *w = &t->worker[started];
        w->team = t;
        if ((size && !(w->data = aligned_alloc(4096, size))) ||
            pthread_create(&w->thread, NULL, work, w) != 0) {
            break;
        }
    }
    pthread_mutex_lock(&t->lock);
    t->go = started == threads ? 1 : -1;
    pthread_cond_broadcast(&t->decided);
    pthread_mutex_unlock(&t->lock);
    for (uint32_t i = 0; i < started; i++) {
        pthread_join(t->worker[i].thread, NULL);
    }
    if (started == threads) {
        for (int r = 0; r < REPEATS; r++) {
            uint64_t begin = UINT64_MAX, end = 0;
            for (uint32_t i = 0; i < threads; i++) {
                begin = t->worker[i].begin[r] < begin ? t->worker[i].begin[r] : begin;
                end = t->worker[i].end[r] > end ? t->worker[i].end[r] : end;
            }
            seconds[r] = (double)(end - begin) * 1e-9;
        }
        double each = size ? (double)size : kernel->ops * (double)t->rounds;
        rate = each * threads / sp_tool_quantile(seconds, REPEATS, 0.5);
    }
    for (uint32_t i = 0; i < threads; i++) {
        free(t->worker[i].data);
    }
    pthread_cond_destroy(&t->decided);
    pthread_mutex_destroy(&t->lock);
    pthread_barrier_destroy(&t->barrier);
    free(t);
    return rate;
}

/* Four times the last cache or more, so that hardly anything is left over from the time before. */
static size_t read_size(uint32_t threads)
{
    size_t total = read_least;
#ifdef _SC_LEVEL3_CACHE_SIZE
    long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (cache > 0 && 4 * (size_t)cache > total) {
        total = 4 * (size_t)cache;
    }
#endif
    total = total > read_most ? read_most : total;
    return (total / threads + 4095) & ~(size_t)4095;
}

int sp_bench_peak(int argc, char **argv)
{
    static const struct option options[] = {{"threads", required_argument, NULL, 't'},
                                            {"json", no_argument, NULL, 'j'},
                                            {NULL, 0, NULL, 0}};
    static const char *const key[KERNELS] = {"fp32_ops_per_s", "int8_ops_per_s",
                                             "int8_tile_ops_per_s", "bf16_ops_per_s",
                                             "read_bytes_per_s"};
    static const char *const method_key[KERNELS] = {"fp32_method", "int8_method",
                                                    "int8_tile_method", "bf16_method",
                                                    "read_method"};
    static const char *const label[KERNELS] = {"fp32 multiply-add", "int8 dot product",
                                               "int8 tile product", "bf16 dot product",
                                               "memory read"};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t threads = cores < 1 ? 1 : (uint64_t)cores;
    bool json = false;
    int c = 0;
    threads = threads > SRP_MAX_THREADS ? SRP_MAX_THREADS : threads;
    while ((c = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (c == 'j') {
            json = true;
        } else if (c != 't' || !sp_tool_uint(optarg, 1, SRP_MAX_THREADS, &threads)) {
            return sp_bench_usage("peak", c == 't' ? "--threads takes 1..64, not" : NULL,
                                  c == 't' ? optarg : argv[optind - 1]);
        }
    }
    if (optind < argc) {
        return sp_bench_usage("peak", "unexpected argument", argv[optind]);
    }
    struct kernel kernel[KERNELS];
    double rate[KERNELS];
    choose(kernel);
    for (int k = 0; k < KERNELS; k++) {
        rate[k] = 0.0;
        if (kernel[k].run) {
            rate[k] = measure(&kernel[k], (uint32_t)threads,
                              k == READ ? read_size((uint32_t)threads) : 0);
            if (rate[k] < 0.0) {
                sp_tool_complain(SP_BENCH_PROGRAM, "peak: no memory or threads for %s", label[k]);
                return SP_EXIT_FAILED;
            }
        }
    }
    if (json) {
        json_t *root = json_object();
        for (int k = 0; k < KERNELS; k++) {
            json_object_set_new(root, key[k], kernel[k].run ? json_real(rate[k]) : json_null());
            json_object_set_new(root, method_key[k], json_string(kernel[k].name));
        }
        json_object_set_new(root, "threads", json_integer((json_int_t)threads));
        return sp_tool_print_json(SP_BENCH_PROGRAM, root);
    }
    for (int k = 0; k < KERNELS; k++) {
        if (kernel[k].run) {
            printf("%-18s %8.1f %-6s  %s\n", label[k], rate[k] * 1e-9, k == READ ? "GB/s" : "Gop/s",
                   kernel[k].name);
        } else {
            printf("%-18s %8s         %s\n", label[k], "-", kernel[k].name);
        }
    }
    printf("%-18s %8u\n", "threads", (unsigned)threads);
    return SP_EXIT_OK;
}
