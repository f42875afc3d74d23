/* SPDX-License-Identifier: BSD-2-Clause */
/* aid_int8 GRAPH PARAMETERS WIDTH HEIGHT CODES OUT - runs the int8 reference on raw codes [H][W][C]
 * and writes the graph's output tensor as raw f32. Prints for each tensor of the program its name
 * and "f32" or scale and zero, as hexadecimal numbers, and the seconds that making the layers and
 * running them took. Exit status 2: refused, with the error's text as the only line. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/model.h"
#include "quant/quant.h"

static struct srp_blob read_file(const char *path)
{
    struct srp_blob blob = {.name = path};
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    blob.size = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(blob.size + 1);
    if (data == NULL || fread(data, 1, blob.size, f) != blob.size) {
        perror(path);
        exit(1);
    }
    fclose(f);
    blob.data = data;
    return blob;
}

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

int main(int argc, char **argv)
{
    if (argc != 7) {
        fputs("aid_int8 GRAPH PARAMETERS WIDTH HEIGHT CODES OUT\n", stderr);
        return 1;
    }
    const struct srp_model_params params = {read_file(argv[1]), read_file(argv[2])};
    const uint32_t width = (uint32_t)atoi(argv[3]), height = (uint32_t)atoi(argv[4]);
    const struct srp_blob codes = read_file(argv[5]);
    struct srp_error err = {0};
    struct srp_model *model = NULL;
    struct srpi_program program = {0};
    struct srpi_quant quant = {0};

    check(srp_model_create(&model, &params, &err), &err);
    const struct srpi_graph *graph = srpi_model_graph(model);
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
    const size_t values =
        (size_t)width * height * graph->scale * graph->scale * graph->channels;
    float *out = malloc(values * sizeof(float));
    if (out == NULL || codes.size != (size_t)width * height * graph->channels) {
        fputs("wrong size\n", stderr);
        return 1;
    }
    const double start = seconds();
    check(srpi_quant_run(&quant, codes.data, width, height, out, &err), &err);
    printf("%.3f %.3f\n", made - begin, seconds() - start);
    FILE *f = fopen(argv[6], "wb");
    if (f == NULL || fwrite(out, sizeof(float), values, f) != values || fclose(f) != 0) {
        perror(argv[6]);
        return 1;
    }
    free(out);
    free((void *)(uintptr_t)params.graph.data);
    free((void *)(uintptr_t)params.parameters.data);
    free((void *)(uintptr_t)codes.data);
    srpi_quant_destroy(&quant);
    srpi_program_destroy(&program);
    srp_model_unref(&model);
    return 0;
}
