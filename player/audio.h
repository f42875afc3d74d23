/* SPDX-License-Identifier: BSD-2-Clause */
/* audio.h - sound: a reader thread decodes and resamples into a ring; SDL's callback plays the
 * ring by media time and tells the clock what is heard. */
#ifndef SP_AUDIO_H
#define SP_AUDIO_H

#include "media.h"
#include "timing.h"

struct sp_audio;

struct sp_audio_params {
    struct sp_media *media;  /* borrowed */
    struct sp_clock *clock;  /* borrowed; corrected from the callback */
    int rate, channels;      /* of the stream; the output has 1 or 2 channels */
    bool silent;             /* no device: the sound follows the clock and is thrown away */
    int volume;              /* 0..100 */
    bool mute;
    struct sp_log *log;
};

/* Opens the device (paused) and starts the reader. Errors: DEVICE, NOMEM. */
enum srp_err sp_audio_create(struct sp_audio **out, const struct sp_audio_params *params,
                             struct srp_error *err);
/* Interrupt the medium first: joins the reader. */
void sp_audio_destroy(struct sp_audio **a);

/* Starts at `media` seconds: what lies before it in the ring is skipped, what is missing is
 * silence. */
void sp_audio_play(struct sp_audio *a, double media);
void sp_audio_pause(struct sp_audio *a);
/* Enough is decoded to start, or there is nothing more. */
bool sp_audio_ready(struct sp_audio *a);
void sp_audio_set_volume(struct sp_audio *a, int volume, bool mute);

/* A seek takes three steps: _begin_seek before every sp_media_interrupt (any thread); _park
 * waits until the reader has stopped reading; after sp_media_seek, _end_seek empties the ring
 * and lets it go on. */
void sp_audio_begin_seek(struct sp_audio *a);
void sp_audio_park(struct sp_audio *a);
void sp_audio_end_seek(struct sp_audio *a);

#endif
