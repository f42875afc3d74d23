/* SPDX-License-Identifier: BSD-2-Clause */
#include "lane.h"

#include <stdlib.h>
#include <string.h>

enum item_state { FREE = 0, MISSING, LOADING, READY, FAILED };

struct item {
    enum item_state state;
    uint32_t key;
    uint32_t rank;   /* 0: most urgent; UINT32_MAX: not wanted */
    uint64_t used;   /* when it was last wanted, in calls of want */
    void *value;     /* READY */
    struct srp_error error; /* the last failure; code is SRP_OK when there was none */
};

struct sp_lane {
    struct sp_lane_params params;
    pthread_t thread;
    /* guarded by the gate */
    struct item items[SP_LANE_ITEMS];
    uint64_t clock;
    bool stop, cancel;
};

static struct item *find(struct sp_lane *lane, uint32_t key)
{
    for (int i = 0; i < SP_LANE_ITEMS; i++) {
        if (lane->items[i].state != FREE && lane->items[i].key == key) {
            return &lane->items[i];
        }
    }
    return NULL;
}

static struct item *most_urgent(struct sp_lane *lane)
{
    struct item *best = NULL;

    for (int i = 0; i < SP_LANE_ITEMS; i++) {
        struct item *item = &lane->items[i];
        if (item->state == MISSING && item->rank != UINT32_MAX &&
            (best == NULL || item->rank < best->rank)) {
            best = item;
        }
    }
    return best;
}

static void *lane_main(void *user)
{
    struct sp_lane *lane = user;
    struct sp_gate *gate = lane->params.gate;

    pthread_setname_np(pthread_self(), lane->params.name);
    sp_gate_lock(gate);
    while (!lane->stop) {
        struct item *item = most_urgent(lane);
        struct srp_error error = {0};
        void *value = NULL;
        if (item == NULL) {
            sp_gate_wait(gate, INT64_MAX);
            continue;
        }
        item->state = LOADING;
        lane->cancel = false;
        sp_gate_unlock(gate);
        enum srp_err code =
            lane->params.load(lane->params.user, item->key, &lane->cancel, &value, &error);
        sp_gate_lock(gate);
        if (code == SRP_OK) {
            item->state = READY;
            item->value = value;
            item->error.code = SRP_OK;
        } else if (lane->cancel) {
            item->state = item->rank == UINT32_MAX ? FREE : MISSING;
        } else {
            item->state = FAILED;
            item->error = error;
        }
        sp_gate_signal(gate);
    }
    sp_gate_unlock(gate);
    return NULL;
}

enum srp_err sp_lane_create(struct sp_lane **out, const struct sp_lane_params *params,
                            struct srp_error *err)
{
    struct sp_lane *lane = calloc(1, sizeof(*lane));

    *out = NULL;
    if (lane == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    lane->params = *params;
    if (pthread_create(&lane->thread, NULL, lane_main, lane) != 0) {
        free(lane);
        return sp_fail(err, SRP_ERR_NOMEM, "a loader thread could not be started");
    }
    *out = lane;
    return SRP_OK;
}

static void drop(struct sp_lane *lane, struct item *item)
{
    if (item->state == READY) {
        lane->params.drop(lane->params.user, item->value);
    }
    item->state = FREE;
    item->value = NULL;
}

void sp_lane_destroy(struct sp_lane **lane)
{
    struct sp_lane *l = *lane;

    if (l == NULL) {
        return;
    }
    sp_gate_lock(l->params.gate);
    l->stop = l->cancel = true;
    sp_gate_signal(l->params.gate);
    sp_gate_unlock(l->params.gate);
    pthread_join(l->thread, NULL);
    for (int i = 0; i < SP_LANE_ITEMS; i++) {
        drop(l, &l->items[i]);
    }
    free(l);
    *lane = NULL;
}

/* A free slot; when there is none, that of the item unwanted for longest. Lock held. */
static struct item *take_slot(struct sp_lane *lane)
{
    struct item *oldest = NULL;

    for (int i = 0; i < SP_LANE_ITEMS; i++) {
        struct item *item = &lane->items[i];
        if (item->state == FREE) {
            return item;
        }
        if (item->state != LOADING && item->rank == UINT32_MAX &&
            (oldest == NULL || item->used < oldest->used)) {
            oldest = item;
        }
    }
    if (oldest != NULL) {
        drop(lane, oldest);
    }
    return oldest;
}

/* Drops what is neither wanted nor among the `keep` most recently wanted. Lock held. */
static void drop_unwanted(struct sp_lane *lane)
{
    for (;;) {
        struct item *oldest = NULL;
        uint32_t unwanted = 0;
        for (int i = 0; i < SP_LANE_ITEMS; i++) {
            struct item *item = &lane->items[i];
            if (item->state == FREE || item->rank != UINT32_MAX) {
                continue;
            }
            if (item->state == LOADING) {
                lane->cancel = true;
                continue;
            }
            unwanted++;
            if (oldest == NULL || item->used < oldest->used) {
                oldest = item;
            }
        }
        if (unwanted <= lane->params.keep) {
            return;
        }
        drop(lane, oldest);
    }
}

void sp_lane_want(struct sp_lane *lane, const uint32_t *keys, size_t count, bool retry)
{
    sp_gate_lock(lane->params.gate);
    lane->clock++;
    for (int i = 0; i < SP_LANE_ITEMS; i++) {
        lane->items[i].rank = UINT32_MAX;
    }
    for (size_t i = 0; i < count; i++) {
        struct item *item = find(lane, keys[i]);
        if (item == NULL && (item = take_slot(lane)) != NULL) {
            memset(item, 0, sizeof(*item));
            item->key = keys[i];
            item->state = MISSING;
            item->rank = UINT32_MAX;
        }
        if (item == NULL || item->rank != UINT32_MAX) {
            continue; /* named twice */
        }
        item->rank = (uint32_t)i;
        item->used = lane->clock;
        if (item->state == FAILED && retry) {
            item->state = MISSING;
        }
    }
    drop_unwanted(lane);
    sp_gate_signal(lane->params.gate);
    sp_gate_unlock(lane->params.gate);
}

enum sp_lane_state sp_lane_wait(struct sp_lane *lane, uint32_t key, int64_t deadline, void **value,
                                struct srp_error *err)
{
    enum sp_lane_state state = SP_LANE_PENDING;
    struct sp_gate *gate = lane->params.gate;

    sp_gate_lock(gate);
    for (;;) {
        struct item *item = find(lane, key);
        if (item != NULL && item->state == READY) {
            *value = item->value;
            state = SP_LANE_READY;
            break;
        }
        if (item == NULL || item->state == FAILED) {
            if (err != NULL) {
                if (item != NULL) {
                    *err = item->error;
                } else {
                    sp_fail(err, SRP_ERR_USAGE, "an item that nobody wants was waited for");
                }
            }
            state = SP_LANE_FAILED;
            break;
        }
        if (gate->interrupted) {
            state = SP_LANE_INTERRUPTED;
            break;
        }
        if (deadline == 0 || (deadline != INT64_MAX && sp_now_ms() >= deadline)) {
            if (err != NULL && item->error.code != SRP_OK) {
                *err = item->error; /* being tried again: the last reason is the true one */
            }
            break;
        }
        sp_gate_wait(gate, deadline);
    }
    sp_gate_unlock(gate);
    return state;
}
