/* SPDX-License-Identifier: BSD-2-Clause */
/* srcc - writes the row kernels (runtime/kernels/row.h) of one instruction set as C with
 * intrinsics: a general family, and kernels for each shape of convolution in the given graphs.
 * Usage: srcc --isa NAME [--graph FILE.json]... -o FILE.c. Same input, same bytes. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emit.h"
#include "model/graph.h"

enum { MAX_SHAPES = 1024, MAX_GRAPHS = 256 };

/* FNV-1a: says which inputs made a file, not that nobody forged them. */
static uint64_t hash_bytes(uint64_t hash, const void *data, size_t size)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3u;
    }
    return hash;
}

static int compare_shapes(const void *a, const void *b)
{
    const struct shape *x = a, *y = b;
    const uint32_t left[] = {x->kernel_height, x->kernel_width, x->in_channels, x->out_channels};
    const uint32_t right[] = {y->kernel_height, y->kernel_width, y->in_channels, y->out_channels};
    for (int i = 0; i < 4; i++) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

/* What was read so far. */
struct inputs {
    struct shape shapes[MAX_SHAPES];
    size_t shape_count;
    char graphs[MAX_GRAPHS * (SRP_MAX_NAME + 1)]; /* names, a blank between two */
    size_t graph_count;
    uint64_t hash;
};

static int add_graph(struct inputs *in, const struct srpi_graph *graph)
{
    if (in->graph_count++ == MAX_GRAPHS) {
        fprintf(stderr, "srcc: more than %d graphs\n", MAX_GRAPHS);
        return -1;
    }
    strcat(strcat(in->graphs, in->graph_count > 1 ? " " : ""), graph->name);
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const struct srpi_node *node = &graph->nodes[i];
        if (node->op != SRPI_OP_CONV2D) {
            continue;
        }
        const struct shape shape = {
            .kernel_height = node->kernel_height,
            .kernel_width = node->kernel_width,
            .in_channels = graph->tensors[node->inputs[0]].channels,
            .out_channels = graph->tensors[node->output].channels,
        };
        size_t known = 0;
        while (known < in->shape_count && compare_shapes(&in->shapes[known], &shape) != 0) {
            known++;
        }
        if (known == MAX_SHAPES) {
            fprintf(stderr, "srcc: more than %d shapes\n", MAX_SHAPES);
            return -1;
        }
        if (known == in->shape_count) {
            in->shapes[in->shape_count++] = shape;
        }
    }
    return 0;
}

static int read_graph(struct inputs *in, const char *path)
{
    int result = -1;
    struct srpi_graph graph = {0};
    struct srp_error error;
    char *data = NULL;
    size_t size;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "srcc: %s: %s\n", path, strerror(errno));
        return -1;
    }
    data = malloc(SRP_MAX_JSON_BYTES + 1);
    if (data == NULL) {
        fprintf(stderr, "srcc: out of memory\n");
        goto end;
    }
    size = fread(data, 1, SRP_MAX_JSON_BYTES + 1, file);
    if (ferror(file)) {
        fprintf(stderr, "srcc: %s: cannot be read\n", path);
        goto end;
    }
    if (srpi_graph_read(&graph, &(struct srp_blob){data, size, path}, &error) != SRP_OK) {
        fprintf(stderr, "srcc: %s\n", error.detail);
        goto end;
    }
    in->hash = hash_bytes(in->hash, data, size);
    result = add_graph(in, &graph);
end:
    srpi_graph_free(&graph);
    free(data);
    fclose(file);
    return result;
}

static int usage(void)
{
    fprintf(stderr, "usage: srcc --isa NAME [--graph FILE.json]... -o FILE.c\n  NAME: %s\n",
            isa_names());
    return 2;
}

int main(int argc, char **argv)
{
    static struct inputs in;
    const struct isa *isa = NULL;
    const char *to = NULL;
    in.hash = 0xcbf29ce484222325u;
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc) {
            return usage();
        }
        if (strcmp(argv[i], "--isa") == 0) {
            isa = isa_find(argv[i + 1]);
            if (isa == NULL) {
                return usage();
            }
        } else if (strcmp(argv[i], "--graph") == 0) {
            if (read_graph(&in, argv[i + 1]) != 0) {
                return 1;
            }
        } else if (strcmp(argv[i], "-o") == 0) {
            to = argv[i + 1];
        } else {
            return usage();
        }
    }
    if (isa == NULL || to == NULL) {
        return usage();
    }
    size_t count = 0;
    for (size_t i = 0; i < in.shape_count; i++) {
        if (isa_serves(isa, &in.shapes[i])) {
            in.shapes[count++] = in.shapes[i];
        }
    }
    in.shape_count = count;
    qsort(in.shapes, in.shape_count, sizeof(in.shapes[0]), compare_shapes);
    FILE *file = fopen(to, "wb");
    if (file == NULL) {
        fprintf(stderr, "srcc: %s: %s\n", to, strerror(errno));
        return 1;
    }
    emit_file(file, isa, in.shapes, in.shape_count, in.graphs,
              hash_bytes(in.hash, isa->name, strlen(isa->name)));
    const int failed = ferror(file);
    if (fclose(file) != 0 || failed) {
        fprintf(stderr, "srcc: %s: cannot be written\n", to);
        return 1;
    }
    return 0;
}
