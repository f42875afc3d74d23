/* SPDX-License-Identifier: BSD-2-Clause */
/* graph.h - the validated network: tensors, nodes in execution order, parameters.
 *
 * There is one reader and one validator (graph.c). What it hands out holds without further checks:
 * every index is in range, shapes agree, nodes stand in an order in which each input is ready,
 * every limit of srp/limits.h holds. A graph is immutable once its parameters are bound. */
#ifndef SRPI_GRAPH_H
#define SRPI_GRAPH_H

#include <stdbool.h>
#include <stdint.h>

#include <srp/limits.h>
#include <srp/model.h>

enum srpi_op {
    SRPI_OP_CONV2D = 1,
    SRPI_OP_ADD,
    SRPI_OP_CONCAT,
    SRPI_OP_DEPTH_TO_SPACE,
    SRPI_OP_RESIZE,
    SRPI_OP_MUL,
    SRPI_OP_SLICE,
    SRPI_OP_ROUTE, /* the last node of a dynamic model; no path has it, so nothing runs it */
};

enum srpi_activation {
    SRPI_ACT_NONE = 0,
    SRPI_ACT_RELU,       /* max(x, 0) */
    SRPI_ACT_LEAKY_RELU, /* x >= 0 ? x : alpha * x */
    SRPI_ACT_PRELU,      /* x >= 0 ? x : slope[channel] * x; conv2d only */
    SRPI_ACT_CLIP,       /* min(max(x, min), max) */
    SRPI_ACT_TANH,
    SRPI_ACT_SIGMOID,
};

enum srpi_resize_mode {
    SRPI_RESIZE_NEAREST = 0,
    SRPI_RESIZE_BILINEAR,
    SRPI_RESIZE_BICUBIC, /* cubic with B = 0, C = 0.6 */
};

enum srpi_block_order {
    SRPI_ORDER_CRD = 0, /* in channel = c*b*b + i*b + j */
    SRPI_ORDER_DCR,     /* in channel = (i*b + j)*C + c, with C = output channels */
};

/* What the parameters state of a tensor for int8 execution: least and greatest value that its codes
 * have to hold, low <= 0 <= high, low < high (all 0: nothing, as for the output); and whether
 * it is kept in 16 bits. */
struct srpi_stated_range {
    float low, high;
    bool fine;
};

/* A tensor is [height * factor][width * factor][channels], height and width those of the graph's
 * input. Tensor 0 is the graph's input; tensor 1 + i is the output of nodes[i]. */
struct srpi_tensor {
    const char *name;
    uint32_t channels; /* 1..SRP_MAX_CHANNELS */
    uint32_t factor;   /* 1..SRP_MAX_SCALE, divides the graph's scale */
    uint32_t producer; /* index of the node that writes it; SRPI_NO_NODE for the graph's input */
    uint32_t last_use; /* index of the last node that reads it; node_count for the graph's output */
};
#define SRPI_NO_NODE UINT32_MAX

/* Reads as: output = activation(op(inputs)). */
struct srpi_node {
    enum srpi_op op;
    const char *name;
    /* add, mul, concat: 2..SRP_MAX_INPUTS; route: 2..SRP_MAX_PATHS; the others: 1 */
    uint32_t input_count;
    const uint32_t *inputs; /* tensor indices; one tensor may stand there twice */
    uint32_t output;        /* tensor index, always 1 + the node's own index */

    enum srpi_activation activation; /* conv2d, add and mul; NONE for the others */
    float alpha;                     /* LEAKY_RELU, finite */
    float min, max;                  /* CLIP, finite, min <= max */

    uint32_t kernel_height, kernel_width; /* CONV2D: odd, 1..SRP_MAX_KERNEL; (k-1)/2 zeros around */
    uint32_t block;                       /* DEPTH_TO_SPACE: 1..4 */
    enum srpi_block_order order;          /* DEPTH_TO_SPACE */
    uint32_t scale;                       /* RESIZE: 1..4 */
    enum srpi_resize_mode mode;           /* RESIZE */
    uint32_t first;                       /* SLICE: the input's channel that becomes channel 0 */
    uint32_t default_path;                /* ROUTE: less than input_count */

    /* CONV2D: owned by the model, finite; NULL in a graph whose parameters are not bound (as for
     * the other operators). */
    const float *weight; /* [output channels][input channels][kernel_height][kernel_width] */
    const float *bias;   /* [output channels] */
    const float *slope;  /* [output channels] with PRELU, else NULL */
    /* Where the parameters hold codes: weight = code * scale of the output channel and of the group
     * of input channels. Else NULL, NULL and 0. */
    const int8_t *codes; /* as weight; -127..127 */
    const float *scales; /* [output channels][groups], above 0 */
    uint32_t groups;     /* 1..SRP_MAX_GROUPS, divides the input channels */
    /* For reports: dtype of the weights in the parameters, and bytes of all arrays of the node
     * there, not compressed. "" and 0 where there is no file. */
    const char *stored;
    uint32_t stored_bytes;
};

struct srpi_graph {
    const char *name;
    uint32_t scale;               /* factor of the output tensor, 1..SRP_MAX_SCALE */
    enum srp_colour_space colour;
    uint32_t channels;            /* of the input and of the output tensor: 1, 3 or 6 */
    float mean;                   /* 0..1: subtracted from the input, added to the output */
    uint32_t input, output;       /* tensor indices; input is 0; output is never the input */
    uint32_t tensor_count;        /* node_count + 1 */
    struct srpi_tensor *tensors;
    uint32_t node_count;          /* 1..SRP_MAX_NODES */
    struct srpi_node *nodes;      /* in execution order */
    uint32_t halo;                /* receptive field radius, input tensor pixels, rounded up */
    uint64_t macs_per_pixel;      /* of all convolutions, per pixel of the input tensor */
    uint64_t parameter_count;     /* weights, biases and slopes */
    const struct srpi_stated_range *ranges; /* [tensor_count], owned by the model; NULL: none */
    uint64_t stored_bytes;        /* of all arrays of the parameters, as in struct srpi_node */
    void *memory;                 /* owner of everything else */
};

/* Reads and validates a graph. On success *out is filled (weight pointers are NULL) and
 * srpi_graph_free releases it; on failure *out is untouched. Keeps no pointer into `json`.
 * Errors: PARSE, FORMAT, LIMIT, UNSUPPORTED, GRAPH, NOMEM. */
enum srp_err srpi_graph_read(struct srpi_graph *out, const struct srp_blob *json,
                             struct srp_error *err);
/* Forgets where the parameters of all nodes are. */
void srpi_graph_unbind(struct srpi_graph *graph);
/* Errors: USAGE (the parameters of a node are not there). */
enum srp_err srpi_graph_check_bound(const struct srpi_graph *graph, struct srp_error *err);
/* Accepts a zeroed graph. Does not free the parameters. */
void srpi_graph_free(struct srpi_graph *graph);

/* The graph's route, or NULL. */
const struct srpi_node *srpi_graph_route(const struct srpi_graph *graph);
/* Path `path` of a graph with a route as a graph of its own. Weights are shared with `graph` and
 * outlive it; ranges are its own, and those of its output are zero. Errors: NOMEM. */
enum srp_err srpi_graph_path(struct srpi_graph *out, const struct srpi_graph *graph, uint32_t path,
                             struct srp_error *err);

/* Number of weights (without bias and slope) of a CONV2D node; 0 for the other operators. */
uint64_t srpi_node_weight_count(const struct srpi_graph *graph, const struct srpi_node *node);

#endif
