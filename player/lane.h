/* SPDX-License-Identifier: BSD-2-Clause */
/* lane.h - look-ahead: one worker thread that loads the few items a reader says it wants next.
 * Items are named by a number (a segment, a model). The worker loads the first wanted one that
 * is missing; what is wanted no longer is dropped, and its load cancelled. Readers never load
 * anything themselves. */
#ifndef SP_LANE_H
#define SP_LANE_H

#include "base.h"

struct sp_lane;

enum { SP_LANE_ITEMS = 8 };

struct sp_lane_params {
    const char *name; /* of the thread, at most 15 bytes */
    struct sp_gate *gate;
    uint32_t keep; /* loaded items that stay although not wanted, at most SP_LANE_ITEMS - 4 */
    /* Worker thread, gate not locked. *cancel is read under the gate lock. */
    enum srp_err (*load)(void *user, uint32_t key, const bool *cancel, void **value,
                         struct srp_error *err);
    void (*drop)(void *user, void *value); /* any thread */
    void *user;
};

enum srp_err sp_lane_create(struct sp_lane **out, const struct sp_lane_params *params,
                            struct srp_error *err);
void sp_lane_destroy(struct sp_lane **lane); /* cancels, joins, drops every item */

/* Reader: the 0..4 items wanted from now on, most urgent first. Values of others are dropped,
 * so the reader holds none of them. retry: items that failed before are tried again. */
void sp_lane_want(struct sp_lane *lane, const uint32_t *keys, size_t count, bool retry);

enum sp_lane_state { SP_LANE_PENDING, SP_LANE_READY, SP_LANE_FAILED, SP_LANE_INTERRUPTED };
/* Reader: waits until the wanted item `key` is there, has failed, `deadline` (sp_now_ms; 0: no
 * wait, INT64_MAX: for ever) has passed, or the gate is interrupted. The value is borrowed
 * while the item is wanted. */
enum sp_lane_state sp_lane_wait(struct sp_lane *lane, uint32_t key, int64_t deadline, void **value,
                                struct srp_error *err);

#endif
