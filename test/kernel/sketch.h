/* SPDX-License-Identifier: BSD-2-Clause */
/* sketch.h - random valid networks with every operator, for tests. */
#ifndef SRPT_SKETCH_H
#define SRPT_SKETCH_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <srp/model.h>

#include "kernel/noise.h"

#define TENSORS 40

struct sketch {
    char json[16384];
    size_t used;
    uint32_t count;             /* tensors t1..count exist; t0 is the input */
    uint32_t channels[TENSORS]; /* of each */
    uint32_t factor[TENSORS];
    bool read[TENSORS];
    uint32_t seed;
};

__attribute__((format(printf, 2, 3))) static void put(struct sketch *s, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(s->json + s->used, sizeof(s->json) - s->used, format, arguments);
    va_end(arguments);
    assert_true(length > 0 && s->used + (size_t)length < sizeof(s->json));
    s->used += (size_t)length;
}

static const char *random_activation(struct sketch *s, bool prelu)
{
    static const char *const all[] = {
        "\"none\"", "\"relu\"", "\"leaky_relu\", \"alpha\": 0.2",
        "\"clip\", \"min\": -0.5, \"max\": 0.75", "\"tanh\"", "\"sigmoid\"", "\"prelu\""};
    return all[noise(&s->seed) % (prelu ? 7 : 6)];
}

static uint32_t put_conv(struct sketch *s, uint32_t from, uint32_t channels)
{
    const uint32_t to = ++s->count;
    put(s,
        "{\"op\":\"conv2d\",\"name\":\"c%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\",\"channels\":%u,"
        "\"kernel\":[%u,%u],\"activation\":%s},",
        to, from, to, channels, 1 + 2 * (noise(&s->seed) % 3), 1 + 2 * (noise(&s->seed) % 3),
        random_activation(s, true));
    s->read[from] = true;
    s->channels[to] = channels;
    s->factor[to] = s->factor[from];
    return to;
}

/* Enlarges by 2 in the middle of the network, in one of two ways. */
static uint32_t put_larger(struct sketch *s, uint32_t from)
{
    static const char *const modes[] = {"nearest", "bilinear", "bicubic"};
    const bool shuffle = noise(&s->seed) % 2 == 0;
    if (shuffle) {
        from = put_conv(s, from, 4 * (1 + noise(&s->seed) % 5));
    }
    const uint32_t to = ++s->count;
    if (shuffle) {
        put(s,
            "{\"op\":\"depth_to_space\",\"name\":\"l%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\","
            "\"block\":2,\"order\":\"%s\"},",
            to, from, to, noise(&s->seed) % 2 ? "crd" : "dcr");
    } else {
        put(s,
            "{\"op\":\"resize\",\"name\":\"l%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\","
            "\"scale\":2,\"mode\":\"%s\"},",
            to, from, to, modes[noise(&s->seed) % 3]);
    }
    s->read[from] = true;
    s->channels[to] = shuffle ? s->channels[from] / 4 : s->channels[from];
    s->factor[to] = 2 * s->factor[from];
    return to;
}

/* Any tensor so far with the size of `like`. */
static uint32_t any_like(struct sketch *s, uint32_t like)
{
    const uint32_t first = noise(&s->seed) % (s->count + 1);
    for (uint32_t i = 0; i <= s->count; i++) {
        const uint32_t t = (first + i) % (s->count + 1);
        if (s->factor[t] == s->factor[like]) {
            return t;
        }
    }
    return like;
}

static void draw(struct sketch *s, uint32_t seed)
{
    static const char *const colours[] = {"y", "rgb", "yuv420"};
    static const uint32_t colour_channels[] = {1, 3, 6};
    static const char *const modes[] = {"nearest", "bilinear", "bicubic"};
    memset(s, 0, sizeof(*s));
    s->seed = seed * 7919 + 1;
    const uint32_t colour = noise(&s->seed) % 3, scale = 1 + noise(&s->seed) % 4;
    const uint32_t channels = colour_channels[colour];
    s->channels[0] = channels;
    s->factor[0] = 1;
    put(s,
        "{\"format\":\"srp-graph\",\"version\":1,\"name\":\"random%u\",\"scale\":%u,\"colour\":\"%s\","
        "\"mean\":0.25,\"input\":\"t0\",\"output\":\"y\",\"nodes\":[",
        seed, scale, colours[colour]);
    uint32_t last = put_conv(s, 0, 1 + noise(&s->seed) % 20);
    const uint32_t steps = 1 + noise(&s->seed) % 6;
    for (uint32_t i = 0; i < steps; i++) {
        const uint32_t kind = noise(&s->seed) % 6;
        const uint32_t other = any_like(s, last);
        if (kind == 5 && scale % 2 == 0 && scale / s->factor[last] >= 2) {
            last = put_larger(s, last);
        } else if (kind < 2 || kind == 5) {
            last = put_conv(s, last, 1 + noise(&s->seed) % 34);
        } else if (kind == 2) {
            const uint32_t a = put_conv(s, other, s->channels[last]), to = ++s->count;
            const bool third = s->channels[1] == s->channels[last] &&
                               s->factor[1] == s->factor[last] && noise(&s->seed) % 2 == 0;
            put(s,
                "{\"op\":\"%s\",\"name\":\"a%u\",\"inputs\":[\"t%u\",\"t%u\"%s],\"output\":\"t%u\","
                "\"activation\":%s},",
                noise(&s->seed) % 2 ? "add" : "mul", to, last, a, third ? ",\"t1\"" : "", to,
                random_activation(s, false));
            s->read[last] = s->read[a] = true;
            s->channels[to] = s->channels[last];
            s->factor[to] = s->factor[last];
            last = to;
        } else if (kind == 3) {
            const uint32_t first = noise(&s->seed) % s->channels[last], to = ++s->count;
            s->channels[to] = 1 + noise(&s->seed) % (s->channels[last] - first);
            s->factor[to] = s->factor[last];
            put(s,
                "{\"op\":\"slice\",\"name\":\"i%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\","
                "\"first\":%u,\"channels\":%u},",
                to, last, to, first, s->channels[to]);
            s->read[last] = true;
            last = to;
        } else {
            const uint32_t to = ++s->count;
            put(s,
                "{\"op\":\"concat\",\"name\":\"k%u\",\"inputs\":[\"t%u\",\"t%u\"],\"output\":\"t%u\"},",
                to, last, other, to);
            s->read[last] = s->read[other] = true;
            s->channels[to] = s->channels[last] + s->channels[other];
            s->factor[to] = s->factor[last];
            last = to;
        }
    }
    /* Whatever nobody has read yet joins in at the end, enlarged to the size that is there. */
    const uint32_t loose = s->count;
    for (uint32_t t = 0; t < loose; t++) {
        if (s->read[t] || t == last) {
            continue;
        }
        uint32_t from = t;
        if (s->factor[t] != s->factor[last]) {
            from = ++s->count;
            put(s,
                "{\"op\":\"resize\",\"name\":\"g%u\",\"inputs\":[\"t%u\"],\"output\":\"t%u\","
                "\"scale\":%u,\"mode\":\"nearest\"},",
                from, t, from, s->factor[last] / s->factor[t]);
            s->channels[from] = s->channels[t];
        }
        const uint32_t to = ++s->count;
        put(s,
            "{\"op\":\"concat\",\"name\":\"k%u\",\"inputs\":[\"t%u\",\"t%u\"],\"output\":\"t%u\"},",
            to, last, from, to);
        s->channels[to] = s->channels[last] + s->channels[from];
        s->factor[to] = s->factor[last];
        last = to;
    }
    const uint32_t block = scale / s->factor[last];
    last = put_conv(s, last, channels * block * block);
    put(s,
        "{\"op\":\"depth_to_space\",\"name\":\"s\",\"inputs\":[\"t%u\"],\"output\":\"%s\",\"block\":%u,"
        "\"order\":\"%s\"}",
        last, seed % 3 ? "d" : "y", block, noise(&s->seed) % 2 ? "crd" : "dcr");
    if (seed % 3) {
        put(s,
            ",{\"op\":\"resize\",\"name\":\"b\",\"inputs\":[\"t0\"],\"output\":\"b\",\"scale\":%u,"
            "\"mode\":\"%s\"},{\"op\":\"add\",\"name\":\"e\",\"inputs\":[\"d\",\"b\"],\"output\":\"y\"}",
            scale, modes[noise(&s->seed) % 3]);
    }
    put(s, "]}");
}

static struct srp_model *model_from(const char *json, uint64_t seed)
{
    struct srp_model *model = NULL;
    struct srp_error err = {0};
    const struct srp_blob blob = {.data = json, .size = strlen(json), .name = "graph"};
    if (srp_model_create_random(&model, &blob, seed, &err) != SRP_OK) {
        fail_msg("%s\n%s", err.detail, json);
    }
    return model;
}

#endif
