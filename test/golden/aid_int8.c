/* SPDX-License-Identifier: BSD-2-Clause */
/* aid_int8 GRAPH PARAMETERS WIDTH HEIGHT CODES OUT [PATH [native]] - runs the int8 reference on raw
 * codes [H][W][C], those of 16 bits as numbers of 16 bits where the input has them, and writes the
 * output tensor of a path (default: 0) as raw f32. Prints for each
 * tensor of the program its name and "f32" or scale and zero, as hexadecimal numbers, and the
 * seconds that making the layers and running them took. With "native" the same by the native
 * executor on the values that the codes stand for: the output has the mean, and one line names the
 * instruction set. Exit status 2: refused, with the error's text as the only line. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "golden/aid_file.h"
#include "model/model.h"
#include "quant/quant.h"

#include <srp/model.h>

static void check(enum srp_err rc, const struct srp_error *err)
{
    if (rc != SRP_OK) {
        printf("%s\n", err->detail);
        exit(2);
    }
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Samples of 0..1, which have the mean, and lie outside where the range says so. A code need not be
 * whole: it has the fraction of 16 bits. */
static float value_of(const struct srpi_graph *graph, double code)
{
    const struct srpi_stated_range *range =
        graph->ranges != NULL ? &graph->ranges[graph->input] : NULL;
    if (range == NULL || range->low == range->high) {
        return (float)code / 255.0f;
    }
    const double step = ((double)range->high - (double)range->low) / 255.0;
    return (float)((code - rint(-(double)range->low / step)) * step + (double)graph->mean);
}

static bool is_fine(const struct srpi_graph *graph)
{
    return graph->ranges != NULL && graph->ranges[graph->input].fine;
}

static void run_native(struct srp_model *model, const struct srp_blob *codes, uint32_t width,
                       uint32_t height, float *out)
{
    const struct srp_executor_params params = {model, SRP_BACKEND_NATIVE, 2, SRP_DTYPE_INT8};
    struct srp_error err = {0};
    struct srp_executor *executor = NULL;
    struct srp_executor_info info;

    const struct srpi_graph *graph = srpi_model_graph(model);
    float *in = malloc((codes->size + 1) * sizeof(float));
    if (in == NULL) {
        exit(1);
    }
    for (size_t i = 0; is_fine(graph) && i < codes->size / 2; i++) {
        in[i] = value_of(graph, (((const uint16_t *)codes->data)[i] - 128.0) / 256.0);
    }
    for (size_t i = 0; !is_fine(graph) && i < codes->size; i++) {
        in[i] = value_of(graph, ((const uint8_t *)codes->data)[i]);
    }
    check(srp_executor_create(&executor, &params, &err), &err);
    check(srp_executor_run(executor, in, width, height, out, &err), &err);
    srp_executor_get_info(executor, &info);
    puts(info.isa);
    srp_executor_destroy(&executor);
    free(in);
}

static void run_reference(struct srp_model *model, const struct srp_blob *codes, uint32_t width,
                          uint32_t height, float *out)
{
    const struct srpi_graph *graph = srpi_model_graph(model);
    struct srpi_program program = {0};
    struct srpi_quant quant = {0};
    struct srp_error err = {0};

    check(srpi_program_create(&program, graph, graph->output, true, &err), &err);
    const double begin = seconds();
    check(srpi_quant_create(&quant, &program, &err), &err);
    const double made = seconds();
    for (uint32_t t = 0; t < graph->tensor_count; t++) {
        const struct srpi_quant_tensor *tensor = &quant.tensors[t];
        if (program.used[t] && tensor->dtype == SRPI_Q8) {
            printf("%s %a %a\n", graph->tensors[t].name, tensor->exact_scale, tensor->exact_zero);
        } else if (program.used[t]) {
            printf("%s f32\n", graph->tensors[t].name);
        }
    }
    const double start = seconds();
    const uint8_t *in = codes->data;
    uint8_t *both = malloc(codes->size + 1); /* the codes, then the fractions */
    if (both == NULL) {
        exit(1);
    }
    for (size_t i = 0; is_fine(graph) && i < codes->size; i++) { /* the fraction comes first */
        both[i / 2 + (i % 2 == 0 ? codes->size / 2 : 0)] = in[i];
    }
    in = is_fine(graph) ? both : in;
    check(srpi_quant_run(&quant, in, in + codes->size / 2, width, height, out, &err), &err);
    free(both);
    printf("%.3f %.3f\n", made - begin, seconds() - start);
    srpi_quant_destroy(&quant);
    srpi_program_destroy(&program);
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc > 9 || (argc == 9 && strcmp(argv[8], "native") != 0)) {
        fputs("aid_int8 GRAPH PARAMETERS WIDTH HEIGHT CODES OUT [PATH [native]]\n", stderr);
        return 1;
    }
    const struct srp_model_params params = {.graph = read_file(argv[1]),
                                            .parameters = read_file(argv[2])};
    const uint32_t width = (uint32_t)atoi(argv[3]), height = (uint32_t)atoi(argv[4]);
    const struct srp_blob codes = read_file(argv[5]);
    struct srp_error err = {0};
    struct srp_model *whole = NULL;
    struct srp_model_info info;

    check(srp_model_create(&whole, &params, &err), &err);
    struct srp_model *model = srp_model_path(whole, argc > 7 ? (uint32_t)atoi(argv[7]) : 0);
    if (model == NULL) {
        fputs("no such path\n", stderr);
        return 1;
    }
    srp_model_get_info(model, &info);
    const size_t values = (size_t)width * height * info.scale * info.scale * info.channels;
    float *out = malloc(values * sizeof(float));
    const size_t element = is_fine(srpi_model_graph(model)) ? 2 : 1;
    if (out == NULL || codes.size != (size_t)width * height * info.channels * element) {
        fputs("wrong size\n", stderr);
        return 1;
    }
    if (argc == 9) {
        run_native(model, &codes, width, height, out);
    } else {
        run_reference(model, &codes, width, height, out);
    }
    FILE *f = fopen(argv[6], "wb");
    if (f == NULL || fwrite(out, sizeof(float), values, f) != values || fclose(f) != 0) {
        perror(argv[6]);
        return 1;
    }
    free(out);
    free((void *)(uintptr_t)params.graph.data);
    free((void *)(uintptr_t)params.parameters.data);
    free((void *)(uintptr_t)codes.data);
    srp_model_unref(&model);
    srp_model_unref(&whole);
    return 0;
}
