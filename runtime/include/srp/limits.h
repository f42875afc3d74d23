/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/limits.h - every limit that libsrp puts on data from outside. One place, used by the packer
 * (through srinfo), the player and the library; docs/format.md quotes it. */
#ifndef SRP_LIMITS_H
#define SRP_LIMITS_H

#define SRP_MAX_DIMENSION 16384u          /* picture width or height, pixels */
#define SRP_MAX_PICTURE_PIXELS (1u << 26) /* width * height, input or output */
#define SRP_MAX_SCALE 4u
#define SRP_MAX_NODES 512u
#define SRP_MAX_CHANNELS 512u
#define SRP_MAX_KERNEL 11u                /* convolution kernel height or width */
#define SRP_MAX_INPUTS 64u                /* inputs of one node (add, mul, concat) */
#define SRP_MAX_GROUPS 64u                /* of input channels, with scales of their own */
#define SRP_MAX_PATHS 8u                  /* inputs of a route */
#define SRP_MAX_NAME 64u                  /* bytes of a node, tensor or model name */
#define SRP_MAX_PARAMETERS (16u << 20)    /* weights of one model */
#define SRP_MAX_MACS_PER_PIXEL (4u << 20) /* multiply-accumulates per input pixel */
#define SRP_MAX_HALO 512u                 /* receptive field radius, input pixels */
#define SRP_MAX_ARENA_BYTES (4ull << 30)
#define SRP_MAX_THREADS 64u
#define SRP_MAX_REGIONS (1u << 16)      /* rectangles in one run, cells of a frame */

#define SRP_MAX_JSON_BYTES (8u << 20)     /* a manifest or a graph */
#define SRP_MAX_JSON_DEPTH 16u
#define SRP_MAX_JSON_VALUES (1u << 19)    /* values in one JSON document */
#define SRP_MAX_SAFETENSORS_HEADER (1u << 20)
#define SRP_MAX_OBJECT_BYTES (256ull << 20) /* a graph or parameters, also once decompressed */
#define SRP_MAX_SEGMENT_BYTES (1ull << 30)
#define SRP_MAX_CHUNKS 100000u
#define SRP_MAX_MODELS 64u
#define SRP_MIN_CELL 8u                   /* width or height of a cell of routes, LR pixels */
#define SRP_MAX_CELL 1024u
#define SRP_MAX_ROUTES_LEVELS (64u << 20) /* planes * frames * cells of one chunk */
#define SRP_MAX_URI 128u                  /* bytes of a segment's file name */

#endif
