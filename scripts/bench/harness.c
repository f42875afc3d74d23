/* SPDX-License-Identifier: BSD-2-Clause */
#include "harness.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { MOST_RUNS = 100000, WARM_RUNS = 3, HUGE_PAGE = 1 << 21, MOST_TENSORS = 1000 };
static const double warm_seconds = 0.3;

struct options {
    const char *plan;
    enum dtype dtype;
    int threads;
    double seconds;
    bool serve;
};

void harness_fail(const char *why)
{
    fprintf(stderr, "%s\n", why);
    exit(1);
}

void *harness_memory(size_t bytes)
{
    void *memory = bytes < HUGE_PAGE ? calloc(1, bytes + 64) : NULL;
    if (memory) {
        return memory;
    }
    size_t rounded = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    if (rounded < bytes || posix_memalign(&memory, HUGE_PAGE, rounded) != 0) {
        harness_fail("out of memory");
    }
    madvise(memory, rounded, MADV_HUGEPAGE);
    memset(memory, 0, bytes);
    return memory;
}

size_t harness_elements(const struct tensor *t)
{
    return (size_t)t->channels * (size_t)t->height * (size_t)t->width;
}

static size_t weight_count(const struct plan *p, const struct step *s)
{
    size_t area = (size_t)s->kernel * (size_t)s->kernel;
    return area * (size_t)p->tensor[s->source].channels * (size_t)p->tensor[s->target].channels;
}

static const void *read_data(FILE *file, size_t bytes)
{
    void *data = malloc(bytes + 1);
    if (!data || fread(data, 1, bytes, file) != bytes) {
        harness_fail("the plan is cut off");
    }
    return data;
}

static void read_steps(struct plan *p, FILE *file)
{
    for (int i = 0; i < p->tensor_count; i++) {
        struct tensor *t = &p->tensor[i];
        if (fscanf(file, "%d %d %d %d %f %f", &t->channels, &t->height, &t->width, &t->slot,
                   &t->low, &t->high) != 6 ||
            t->slot < 0 || t->slot >= p->tensor_count) {
            harness_fail("the plan has a bad tensor");
        }
    }
    for (int i = 0; i < p->step_count; i++) {
        struct step *s = &p->step[i];
        char kind = 0;
        int activation = 0;
        if (fscanf(file, " %c %d %d %d %d %d %d %d %f %f", &kind, &s->source, &s->target,
                   &s->residual, &s->kernel, &s->pad, &activation, &s->block, &s->linear.low,
                   &s->linear.high) != 10 ||
            s->source < 0 || s->target < 0 || s->source >= p->tensor_count ||
            s->target >= p->tensor_count || s->residual >= p->tensor_count) {
            harness_fail("the plan has a bad step");
        }
        s->kind = kind == 'c' ? CONV : kind == 'p' ? PAD : SHUFFLE;
        s->activation = (enum activation)activation;
    }
}

static void read_plan(struct plan *p, const char *path)
{
    FILE *file = fopen(path, "rb");
    char word[8] = "";
    int version = 0;
    if (!file || fscanf(file, "srp-bench %d %d %d %d %d", &version, &p->tensor_count,
                        &p->step_count, &p->scale, &p->channels) != 5 ||
        version != 1 || p->tensor_count < 2 || p->tensor_count > MOST_TENSORS ||
        p->step_count < 1 || p->step_count > MOST_TENSORS) {
        harness_fail("no plan of version 1");
    }
    p->tensor = calloc((size_t)p->tensor_count, sizeof *p->tensor);
    p->step = calloc((size_t)p->step_count, sizeof *p->step);
    if (!p->tensor || !p->step) {
        harness_fail("out of memory");
    }
    read_steps(p, file);
    if (fscanf(file, "%7s", word) != 1 || strcmp(word, "data") != 0 || fgetc(file) != '\n') {
        harness_fail("the plan has no data");
    }
    for (int i = 0; i < p->step_count; i++) {
        struct step *s = &p->step[i];
        if (s->kind == CONV) {
            s->weight = read_data(file, weight_count(p, s) * sizeof(float));
            s->bias = read_data(file, (size_t)p->tensor[s->target].channels * sizeof(float));
        }
    }
    if (p->step[p->step_count - 1].kind != SHUFFLE) {
        harness_fail("the plan does not end in a shuffle");
    }
    p->picture = read_data(file, harness_elements(&p->tensor[0]));
    p->path = path;
    p->reference = ftell(file);
    fclose(file);
}

void **harness_values(const struct plan *p, size_t size, size_t extra)
{
    void **value = harness_memory((size_t)p->tensor_count * sizeof *value);
    for (int i = 0; i < p->tensor_count; i++) {
        size_t most = 0;
        for (int k = p->tensor_count - 1; k >= 0 && !value[i]; k--) {
            if (p->tensor[k].slot == p->tensor[i].slot) {
                size_t n = harness_elements(&p->tensor[k]);
                most = n > most ? n : most;
                value[i] = k < i ? value[k] : NULL;
            }
        }
        value[i] = value[i] ? value[i] : harness_memory(most * size + extra);
    }
    return value;
}

void harness_input(const struct plan *p, enum dtype dtype, void *samples)
{
    const struct tensor *t = &p->tensor[0];
    size_t area = (size_t)t->height * (size_t)t->width, channels = (size_t)t->channels;
    for (size_t c = 0; c < channels; c++) {
        for (size_t i = 0; i < area; i++) {
            int value = p->picture[c * area + i];
            if (dtype == INT8) {
                ((int8_t *)samples)[i * channels + c] = (int8_t)(value - 128);
            } else {
                ((float *)samples)[i * channels + c] = (float)value / 255.0f - 0.5f;
            }
        }
    }
}

/* Inlined for each block and size, so that the copies are single moves. */
static inline void shuffle_row(const struct plan *p, size_t block, size_t size, const char *source,
                               char *output, size_t y)
{
    size_t width = (size_t)p->tensor[0].width, height = (size_t)p->tensor[0].height;
    size_t channels = (size_t)p->channels * block * block, stride = width * block * size;
    const char *row = source + y * width * channels * size;
    for (size_t k = 0; k < (size_t)p->channels * block; k++) {
        char *to = output + ((k / block * height + y) * block + k % block) * stride;
        for (size_t x = 0; x < width; x++) {
            memcpy(to + x * block * size, row + (x * channels + k * block) * size, block * size);
        }
    }
}

void harness_shuffle_row(const struct plan *p, size_t size, const void *source, void *output, int y)
{
    int block = p->step[p->step_count - 1].block;
    if (size == 1 && block == 2) {
        shuffle_row(p, 2, 1, source, output, (size_t)y);
    } else if (size == 1 && block == 3) {
        shuffle_row(p, 3, 1, source, output, (size_t)y);
    } else if (size == 1 && block == 4) {
        shuffle_row(p, 4, 1, source, output, (size_t)y);
    } else if (size == 4 && block == 2) {
        shuffle_row(p, 2, 4, source, output, (size_t)y);
    } else if (size == 4 && block == 3) {
        shuffle_row(p, 3, 4, source, output, (size_t)y);
    } else if (size == 4 && block == 4) {
        shuffle_row(p, 4, 4, source, output, (size_t)y);
    } else {
        shuffle_row(p, (size_t)block, size, source, output, (size_t)y);
    }
}

static int clamp(int value, int most)
{
    return value < 0 ? 0 : value > most ? most : value;
}

void harness_pad_row(const struct plan *p, const struct step *s, size_t size, const void *source,
                     void *target, int y)
{
    const struct tensor *from = &p->tensor[s->source], *to = &p->tensor[s->target];
    size_t sample = (size_t)from->channels * size;
    size_t above = (size_t)clamp(y - s->pad, from->height - 1) * (size_t)from->width;
    char *row = (char *)target + (size_t)y * (size_t)to->width * sample;
    for (int x = 0; x < to->width; x++) {
        size_t at = above + (size_t)clamp(x - s->pad, from->width - 1);
        memcpy(row + (size_t)x * sample, (const char *)source + at * sample, sample);
    }
}

void harness_quantise(const struct plan *p, const struct step *s, int8_t *weight, float *scale)
{
    size_t out = (size_t)p->tensor[s->target].channels, each = weight_count(p, s) / out;
    for (size_t c = 0; c < out; c++) {
        const float *w = s->weight + c * each;
        float most = 1e-8f;
        for (size_t i = 0; i < each; i++) {
            most = fmaxf(most, fabsf(w[i]));
        }
        scale[c] = most / 127.0f;
        for (size_t i = 0; i < each; i++) {
            weight[c * each + i] = (int8_t)lrintf(w[i] / scale[c]);
        }
    }
}

float harness_symmetric(const struct tensor *t)
{
    return fmaxf(fmaxf(fabsf(t->low), fabsf(t->high)), 1e-6f) / 127.0f;
}

float harness_asymmetric(const struct tensor *t, int *zero)
{
    float low = fminf(t->low, 0.0f), high = fmaxf(t->high, 0.0f);
    float scale = fmaxf(high - low, 1e-6f) / 255.0f;
    *zero = (int)lrintf(-low / scale) - 128;
    return scale;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void warm_up(const struct engine *e, void *state)
{
    double begin = now();
    for (int runs = 1;; runs++) {
        e->run(state);
        if (now() - begin >= warm_seconds * (runs >= WARM_RUNS ? 1 : 2)) {
            return;
        }
    }
}

static long long peak_rss(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long long kib = 0;
    while (file && fgets(line, sizeof line, file)) {
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) {
            break;
        }
    }
    if (file) {
        fclose(file);
    }
    return kib * 1024;
}

static void print_runs(const struct engine *e, void *state, double seconds)
{
    static double ms[MOST_RUNS];
    int runs = 0;
    double begin = now();
    for (double t = begin; runs < MOST_RUNS && (runs == 0 || t - begin < seconds); runs++) {
        e->run(state);
        double end = now();
        ms[runs] = (end - t) * 1e3;
        t = end;
    }
    printf("\"ms\": [");
    for (int i = 0; i < runs; i++) {
        printf("%s%.4f", i ? ", " : "", ms[i]);
    }
    printf("], \"peak_rss_bytes\": %lld", peak_rss());
}

static void print_check(const struct engine *e, void *state, const struct plan *p)
{
    size_t n = harness_elements(&p->tensor[p->step[p->step_count - 1].target]);
    float *samples = malloc(n * sizeof *samples);
    FILE *file = fopen(p->path, "rb");
    double sum = 0.0, squares = 0.0, wrong = 0.0;
    if (!samples || !file || fseek(file, p->reference, SEEK_SET) != 0) {
        harness_fail("no memory or no plan for the check");
    }
    const float *reference = read_data(file, n * sizeof(float));
    fclose(file);
    e->run(state);
    e->output(state, samples);
    for (size_t i = 0; i < n; i++) {
        double want = (double)reference[i], off = (double)samples[i] - want;
        sum += want;
        squares += want * want;
        wrong += off * off;
    }
    double mean = sum / (double)n;
    printf("\"rms\": %.9g", sqrt(wrong / fmax(squares - (double)n * mean * mean, 1e-12)));
    free(samples);
    free((void *)(uintptr_t)reference);
}

static void serve(const struct engine *e, void *state, const struct plan *p)
{
    char line[64];
    printf("{\"ready\": true, \"version\": \"%s\"}\n", e->version());
    while (fgets(line, sizeof line, stdin)) {
        double seconds = 0.0;
        putchar('{');
        if (sscanf(line, "run %lf", &seconds) == 1) {
            print_runs(e, state, seconds);
        } else {
            print_check(e, state, p);
        }
        puts("}");
    }
}

static bool parse(struct options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--serve") == 0) {
            o->serve = true;
            continue;
        }
        if (strcmp(argv[i], "--plan") == 0) {
            o->plan = value;
        } else if (strcmp(argv[i], "--threads") == 0) {
            o->threads = atoi(value);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            o->seconds = atof(value);
        } else if (strcmp(argv[i], "--dtype") == 0) {
            o->dtype = strcmp(value, "int8") == 0 ? INT8 : strcmp(value, "bf16") == 0 ? BF16 : F32;
        } else {
            return false;
        }
        i++;
    }
    return o->plan && o->threads >= 1 && o->threads <= 64;
}

int harness_main(int argc, char **argv, const struct engine *e)
{
    struct options o = {.threads = 1, .seconds = 2.0};
    struct plan p = {.tensor = NULL};
    const char *missing = "it refuses this model";
    if (!parse(&o, argc, argv)) {
        harness_fail("usage: --plan FILE --threads N --dtype f32|int8|bf16 --seconds S [--serve]");
    }
    setvbuf(stdout, NULL, _IOLBF, 1 << 16);
    /* Fresh pages of the system for each picture would be the dearest part of it. */
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, -1);
    read_plan(&p, o.plan);
    void *state = e->create(&p, o.dtype, o.threads, &missing);
    if (!state) {
        printf("{\"engine\": \"%s\", \"missing\": \"%s\"}\n", e->name, missing);
        return 0;
    }
    warm_up(e, state);
    if (o.serve) {
        serve(e, state, &p);
        return 0;
    }
    printf("{\"engine\": \"%s\", \"version\": \"%s\", ", e->name, e->version());
    print_runs(e, state, o.seconds);
    printf(", ");
    print_check(e, state, &p);
    puts("}");
    return 0;
}
