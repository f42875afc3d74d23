/* SPDX-License-Identifier: BSD-2-Clause */
/* route.h - which path of a dynamic model makes which cell of a frame: the packer's own choice,
 * or what this device can afford, from costs that are measured as frames go by. Used by one
 * thread. */
#ifndef SP_ROUTE_H
#define SP_ROUTE_H

#include <stdbool.h>

#include <srp/routes.h>

enum sp_route_mode {
    SP_ROUTE_BUDGET = 0, /* what gains most in the time that a frame has */
    SP_ROUTE_EXACT,      /* the packer's choice, whatever it costs */
    SP_ROUTE_OFF,        /* the model's default path for the whole picture */
};
/* "budget", "exact", "off". False: none of them. */
bool sp_route_from_name(enum sp_route_mode *out, const char *name);

/* What was computed for one frame, or for all of them. */
struct sp_route_counts {
    uint32_t paths; /* of the model; of the one with the most of them */
    uint64_t cells[SRP_MAX_PATHS]; /* by path, without those copied from the frame before */
    uint64_t reused;
    double macs, macs_dearest; /* multiply-accumulates; those of the dearest path everywhere */
};
void sp_route_counts_add(struct sp_route_counts *sum, const struct sp_route_counts *one);
/* macs / macs_dearest; 0 before there is anything. */
double sp_route_macs_share(const struct sp_route_counts *counts);
/* The counts of a choice for a picture of width x height, as if nothing were reused. */
struct sp_route_counts sp_route_counts_of(const struct srp_routing *routing, uint32_t width,
                                          uint32_t height, struct srp_model *model);

/* Zeroed, but for the mode, before the first use. */
struct sp_router {
    enum sp_route_mode mode;
    uint32_t path_count;
    uint64_t macs[SRP_MAX_PATHS]; /* of each path, for each pixel */
    double seconds[SRP_MAX_PATHS], pixels[SRP_MAX_PATHS]; /* recent, older ones fading */
    double rest;                  /* seconds of a frame beside its paths, smoothed */
    uint8_t *paths;               /* of the frame at hand */
    size_t room;
};
void sp_router_free(struct sp_router *r);
/* The model of the frames to come. What was measured holds on where its paths take as many
 * multiply-accumulates (other parameters of the same graph), and is forgotten otherwise. */
void sp_router_set_model(struct sp_router *r, struct srp_model *model);
/* Fills *routing (without `previous`), which is borrowed until the next call. budget: seconds
 * for the whole frame, or INFINITY. Before costs are known, the packer's choice is taken, and
 * measured.
 * Errors: USAGE, NOMEM. */
enum srp_err sp_router_choose(struct sp_router *r, const struct srp_routes *routes, uint32_t frame,
                              uint32_t width, uint32_t height, double budget,
                              struct srp_routing *routing, struct srp_error *err);
/* What it took: `seconds` for the whole frame. Leave out runs that also set something up. */
void sp_router_record(struct sp_router *r, const struct srp_routing_stats *stats, double seconds);
/* The counts of a frame of that many pixels. */
struct sp_route_counts sp_router_counts(const struct sp_router *r,
                                        const struct srp_routing_stats *stats, uint64_t pixels);
/* Whether these routes leave a choice to the budget: not the packer's. */
bool sp_router_is_elastic(const struct sp_router *r, const struct srp_routes *routes);
/* Seconds that a frame of so many pixels takes at the least: path 0 everywhere. 0: not known
 * yet. */
double sp_router_least(const struct sp_router *r, uint64_t pixels);

#endif
