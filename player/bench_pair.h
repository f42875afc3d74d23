/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_pair.h - a package's decoded video beside its original, frame by frame. Used by one
 * thread. */
#ifndef SP_BENCH_PAIR_H
#define SP_BENCH_PAIR_H

#include "bench_reference.h"
#include "media.h"

struct sp_pair_params {
    const char *manifest, *reference; /* borrowed */
    uint64_t frames;                  /* stop after so many; 0: all */
    bool no_routes;
};

struct sp_pair {
    struct sp_pair_params params;
    struct sp_media *media;
    struct srp_package_info info;
    struct sp_reference *reference;
    AVFrame *frame;
    uint64_t frames;      /* handed out */
    double first_pts;
    bool reference_fault; /* what failed is the original, not the package */
};

/* On failure, too, sp_pair_close has to follow. Bytes of the package are verified, never cached,
 * and waited for. Errors: those of sp_media_open and sp_reference_open, FORMAT (not a package). */
enum srp_err sp_pair_open(struct sp_pair *pair, const struct sp_pair_params *params,
                          struct srp_error *err);
void sp_pair_close(struct sp_pair *pair);

/* The next frame: `in` is a view on its low-resolution picture, valid until the next call. 1:
 * there is one; 0: the end; <0: an error, as sp_media_read_video, PARAMS (its model cannot be
 * used), FORMAT (its size, damage, or other frames than the manifest says). */
int sp_pair_next(struct sp_pair *pair, struct sp_frame_meta *meta, struct srp_picture *in,
                 struct srp_error *err);
/* The original of that frame, of the package's output size, once; in the colours of `in`: equal
 * codes must be equal colours on both sides. Errors: as sp_reference_read. */
enum srp_err sp_pair_reference(struct sp_pair *pair, const struct sp_frame_meta *meta,
                               const struct srp_picture *in, struct srp_picture *original,
                               struct srp_error *err);

/* After the end: complaints, and the exit status for an error of any of these functions (SRP_OK:
 * 0). */
void sp_pair_note_damage(const struct sp_pair *pair, const char *command);
int sp_pair_status(const struct sp_pair *pair, enum srp_err code);

/* A picture of the package's output size and colours. */
enum srp_err sp_pair_picture(const struct sp_pair *pair, struct srp_picture *picture,
                             enum srp_format format, struct srp_error *err);
/* Colours of `in` for a picture that is to be made from it. */
void sp_pair_colours(struct srp_picture *picture, const struct srp_picture *in);

#endif
