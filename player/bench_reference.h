/* SPDX-License-Identifier: BSD-2-Clause */
/* bench_reference.h - the original that a package was made from, frame by frame, as the packer saw
 * it: turned upright, 8-bit 4:2:0, held until the next frame is due. Used by one thread. */
#ifndef SP_BENCH_REFERENCE_H
#define SP_BENCH_REFERENCE_H

#include <srp/upscaler.h>

struct sp_reference;

struct sp_reference_params {
    const char *path;  /* a local video file; "-": YUV4MPEG2 on standard input */
    double start;      /* seconds after the beginning of the file at which the package begins */
    double frame_rate; /* of the package */
    uint32_t width,
        height; /* of the package's output: what is larger is cut at the right and bottom */
    enum srp_range range;   /* of the package; a different one is converted to it */
    enum srp_chroma chroma; /* siting, where another format is converted to 4:2:0 */
};

/* Errors: NOT_FOUND, IO, FORMAT (no video, or smaller than width x height), UNSUPPORTED (rotation
 * by an odd angle), DECODE, NOMEM. */
enum srp_err sp_reference_open(struct sp_reference **out, const struct sp_reference_params *params,
                               struct srp_error *err);
void sp_reference_close(struct sp_reference **r);

/* Copies the frame that is on show `seconds` after the package's first one into `picture` (YUV420,
 * width x height): the latest one due less than half a frame later. Seconds must not go back.
 * Errors: NOT_FOUND (the reference has ended), IO, DECODE, FORMAT (its size changes), NOMEM. */
enum srp_err sp_reference_read(struct sp_reference *r, double seconds,
                               const struct srp_picture *picture, struct srp_error *err);

/* How many packets could not be decoded so far. */
uint64_t sp_reference_damaged(const struct sp_reference *r);

#endif
