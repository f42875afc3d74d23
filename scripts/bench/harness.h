/* SPDX-License-Identifier: BSD-2-Clause */
/* What the C programs of the bench share: the plan file of plan.py, timing, and the protocol of
 * rival.py. They are single-purpose programs: what fails ends them with one line on stderr. */
#ifndef SRP_BENCH_HARNESS_H
#define SRP_BENCH_HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dtype { F32, INT8, BF16 };
enum step_kind { CONV, PAD, SHUFFLE };
enum activation { NONE, RELU, TANH };

struct tensor {
    int channels, height, width;
    int slot; /* tensors with the same one never live at the same time */
    float low, high; /* of its values on the calibration picture */
};

struct step {
    enum step_kind kind;
    int source, target, residual; /* tensors; residual: -1, or added before the activation */
    int kernel, pad;
    enum activation activation;
    int block;
    struct tensor linear; /* range of the convolution alone, without residual and activation */
    const float *weight, *bias; /* [out][in][kernel][kernel] */
};

struct plan {
    int tensor_count, step_count, scale, channels;
    struct tensor *tensor; /* 0 is the input */
    struct step *step;     /* the last one is the shuffle */
    const uint8_t *picture; /* [c][h][w] */
    const char *path;
    long reference; /* where in the file the output's [c][h][w] floats begin */
};

/* Everything is allocated by create; run does one picture; output writes the last result as
 * [c][h][w]. create returns NULL and sets *missing when the engine cannot do this plan. */
struct engine {
    const char *name;
    const char *(*version)(void);
    void *(*create)(const struct plan *plan, enum dtype dtype, int threads, const char **missing);
    void (*run)(void *state);
    void (*output)(void *state, float *samples);
};

int harness_main(int argc, char **argv, const struct engine *engine);

/* Zeroed memory, on huge pages when it is large; never NULL. */
void *harness_memory(size_t bytes);

void harness_fail(const char *why);

/* Memory of each tensor, tensors of one slot sharing it: harness_elements * size bytes and `extra`
 * beyond. The array is the caller's. */
void **harness_values(const struct plan *plan, size_t size, size_t extra);

/* Picture to [h][w][c]: samples less one half, or bytes less 128. */
void harness_input(const struct plan *plan, enum dtype dtype, void *samples);

/* Row y of [h][w][c] `source` to the planes of the output. `size`: bytes of a sample, 1 or 4. */
void harness_shuffle_row(const struct plan *plan, size_t size, const void *source, void *output,
                         int y);

/* Repeats the edge: row y of the padded [h][w][c] target. */
void harness_pad_row(const struct plan *plan, const struct step *step, size_t size,
                     const void *source, void *target, int y);

/* Signed 8-bit weights in the same order and their scale for each output channel. */
void harness_quantise(const struct plan *plan, const struct step *step, int8_t *weight,
                      float *scale);

/* Scale of -127..127 around 0; of -128..127 with a zero point, which covers low..high. */
float harness_symmetric(const struct tensor *tensor);
float harness_asymmetric(const struct tensor *tensor, int *zero);

size_t harness_elements(const struct tensor *tensor);

#endif
