/* SPDX-License-Identifier: BSD-2-Clause */
#include "audio.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <SDL.h>
#include <libavutil/channel_layout.h>
#include <libavutil/opt.h>
#include <libswresample/swresample.h>

#include "base.h"

enum { ring_seconds = 2, device_samples = 1024, chunk_samples = 4096 };

struct sp_audio {
    struct sp_media *media;
    struct sp_clock *clock;
    struct sp_log *log;
    SDL_AudioDeviceID device;
    int rate, channels; /* of the output */
    double latency;     /* seconds between a callback's first sample and its sound */
    pthread_t thread, silent;
    bool thread_started, silent_started;

    /* reader thread only */
    AVFrame *frame;
    SwrContext *swr;
    int in_rate, in_format;
    AVChannelLayout in_layout;
    float *resampled;
    int resampled_room; /* samples per channel */

    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    bool stop, seeking, parked, ended;
    float *ring;          /* `capacity` interleaved samples */
    size_t capacity, head, fill;
    double head_time;     /* media time of the oldest sample */
    bool have_time;       /* head_time is known */
    double play_time;     /* media time of the next sample to play */
    bool playing;
    float gain;
};

/* ---- ring, under the lock ---- */

static void ring_skip(struct sp_audio *a, size_t samples)
{
    a->head = (a->head + samples) % a->capacity;
    a->fill -= samples;
    a->head_time += (double)samples / a->rate;
}

static void ring_read(struct sp_audio *a, float *to, size_t samples)
{
    size_t channels = (size_t)a->channels;
    for (size_t i = 0; to && i < samples; i++) {
        const float *from = a->ring + (a->head + i) % a->capacity * channels;
        for (size_t c = 0; c < channels; c++) {
            to[i * channels + c] = from[c] * a->gain;
        }
    }
    ring_skip(a, samples);
}

/* from NULL: silence. Waits for room; false: stop or seek. */
static bool ring_write(struct sp_audio *a, const float *from, size_t samples)
{
    size_t channels = (size_t)a->channels;
    while (samples > 0) {
        while (!a->stop && !a->seeking && a->fill == a->capacity) {
            pthread_cond_wait(&a->changed, &a->lock);
        }
        if (a->stop || a->seeking) {
            return false;
        }
        size_t at = (a->head + a->fill) % a->capacity;
        size_t n = a->capacity - a->fill;
        n = n < a->capacity - at ? n : a->capacity - at;
        n = n < samples ? n : samples;
        if (from) {
            memcpy(a->ring + at * channels, from, n * channels * sizeof *from);
            from += n * channels;
        } else {
            memset(a->ring + at * channels, 0, n * channels * sizeof *a->ring);
        }
        a->fill += n;
        samples -= n;
    }
    return true;
}

/* ---- what plays ---- */

/* Takes `want` samples by media time, so that sound that begins later than the picture, gaps and
 * seeks need no special case: what is too old is skipped, what is not there yet is silence. `to`
 * holds zeros before, or is NULL. False: the end is reached. Under the lock. */
static bool pull(struct sp_audio *a, float *to, size_t want)
{
    size_t channels = (size_t)a->channels;
    while (want > 0) {
        double gap = a->have_time ? (a->head_time - a->play_time) * a->rate : 0;
        size_t n = want;
        if (a->fill == 0 && a->ended) {
            return false;
        }
        if (a->fill == 0) {
            break; /* starved: the sound's time stands still */
        }
        if (gap < -1) {
            ring_skip(a, (size_t)fmin(-gap, (double)a->fill));
            continue;
        }
        if (gap > 1) {
            n = gap < (double)want ? (size_t)gap : want;
        } else {
            n = a->fill < want ? a->fill : want;
            ring_read(a, to, n);
        }
        to = to ? to + n * channels : NULL;
        want -= n;
        a->play_time += (double)n / a->rate;
    }
    pthread_cond_broadcast(&a->changed);
    return true;
}

/* SDL's thread: the card is the clock. After the end of the sound the clock runs by itself. */
static void callback(void *opaque, Uint8 *stream, int bytes)
{
    struct sp_audio *a = opaque;
    memset(stream, 0, (size_t)bytes);
    pthread_mutex_lock(&a->lock);
    double heard = a->play_time - a->latency;
    size_t want = (size_t)bytes / ((size_t)a->channels * sizeof(float));
    bool sync = a->playing && pull(a, (float *)(void *)stream, want); /* SDL aligns its buffers */
    pthread_mutex_unlock(&a->lock);
    if (sync) {
        sp_clock_sync(a->clock, sp_monotonic(), heard);
    }
}

/* Without a card the clock is the machine's, and the sound follows it into nothing. (SDL's dummy
 * driver sleeps from buffer to buffer: on a busy machine it would make time itself run slow.) */
static void *silent_thread(void *opaque)
{
    struct sp_audio *a = opaque;
    const struct timespec tick = {.tv_nsec = 20000000};
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        bool running;
        double time = sp_clock_read(a->clock, sp_monotonic(), &running);
        double due = (time - a->play_time) * a->rate;
        if (a->playing && running && due >= 1) {
            pull(a, NULL, (size_t)due);
        }
        pthread_mutex_unlock(&a->lock);
        nanosleep(&tick, NULL);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- reader thread ---- */

static bool setup_resampler(struct sp_audio *a, AVFrame *f)
{
    if (a->swr && f->sample_rate == a->in_rate && f->format == a->in_format &&
        av_channel_layout_compare(&f->ch_layout, &a->in_layout) == 0) {
        return true;
    }
    AVChannelLayout out = {0};
    av_channel_layout_default(&out, a->channels);
    swr_free(&a->swr);
    int r = swr_alloc_set_opts2(&a->swr, &out, AV_SAMPLE_FMT_FLT, a->rate, &f->ch_layout,
                                (enum AVSampleFormat)f->format, f->sample_rate, 0, NULL);
    av_channel_layout_uninit(&out);
    if (r < 0 || swr_init(a->swr) < 0) {
        swr_free(&a->swr);
        return false;
    }
    a->in_rate = f->sample_rate;
    a->in_format = f->format;
    return av_channel_layout_copy(&a->in_layout, &f->ch_layout) >= 0;
}

/* Number of samples per channel in a->resampled, negative: failed. */
static int resample(struct sp_audio *a)
{
    AVFrame *f = a->frame;
    if (!setup_resampler(a, f)) {
        return -1;
    }
    int room = swr_get_out_samples(a->swr, f->nb_samples);
    if (room > a->resampled_room) {
        float *grown = realloc(a->resampled, (size_t)room * (size_t)a->channels * sizeof *grown);
        if (!grown) {
            return -1;
        }
        a->resampled = grown;
        a->resampled_room = room;
    }
    uint8_t *out = (uint8_t *)a->resampled;
    return swr_convert(a->swr, &out, room, (const uint8_t **)f->extended_data, f->nb_samples);
}

static void queue(struct sp_audio *a, double pts, int samples)
{
    if (!a->have_time) {
        a->head_time = pts;
        a->have_time = true;
    }
    /* Timestamps decide: a hole in the stream is filled, an overlap is cut. Small differences
     * are rounding. */
    double expected = a->head_time + (double)a->fill / a->rate;
    double gap = pts - expected;
    size_t skip = 0, n = (size_t)samples;
    if (gap > 0.05 && gap < 30) {
        ring_write(a, NULL, (size_t)(gap * a->rate));
    } else if (gap < -0.05) {
        skip = (size_t)fmin(-gap * a->rate, (double)n);
    }
    ring_write(a, a->resampled + skip * (size_t)a->channels, n - skip);
}

static void read_one(struct sp_audio *a)
{
    struct srp_error err = {.code = SRP_OK};
    double pts = 0;
    pthread_mutex_unlock(&a->lock);
    int r = sp_media_read_audio(a->media, a->frame, &pts, &err);
    int samples = r > 0 ? resample(a) : 0;
    pthread_mutex_lock(&a->lock);
    if (a->stop || a->seeking) {
        av_frame_unref(a->frame);
        return;
    }
    if (r > 0 && samples >= 0) {
        queue(a, pts, samples);
    } else {
        a->ended = true;
        if (r != 0) {
            sp_log(a->log, SP_LOG_WARN, "the sound ends here: %s",
                   r < 0 ? err.detail : "its format cannot be converted");
        }
    }
    av_frame_unref(a->frame);
}

static void *reader(void *opaque)
{
    struct sp_audio *a = opaque;
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        if (a->seeking || a->ended) {
            a->parked = true;
            pthread_cond_broadcast(&a->changed);
            pthread_cond_wait(&a->changed, &a->lock);
            continue;
        }
        a->parked = false;
        read_one(a);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* ---- control ---- */

static enum srp_err open_device(struct sp_audio *a, const struct sp_audio_params *params,
                                struct srp_error *err)
{
    a->channels = params->channels > 1 ? 2 : 1;
    a->rate = params->rate;
    if (params->silent) {
        return SRP_OK;
    }
    if (SDL_AudioInit(NULL) != 0) {
        return sp_fail(err, SRP_ERR_DEVICE, "sound: %s", SDL_GetError());
    }
    SDL_AudioSpec want = {
        .freq = params->rate,
        .format = AUDIO_F32SYS,
        .channels = (Uint8)a->channels,
        .samples = device_samples,
        .callback = callback,
        .userdata = a,
    }, got;
    /* SDL converts what the card cannot do. */
    a->device = SDL_OpenAudioDevice(NULL, 0, &want, &got, 0);
    if (a->device == 0) {
        sp_fail(err, SRP_ERR_DEVICE, "sound device: %s", SDL_GetError());
        SDL_AudioQuit();
        return SRP_ERR_DEVICE;
    }
    /* SDL does not tell the card's latency: the buffer that plays while this one is filled. */
    a->latency = (double)got.samples / got.freq;
    return SRP_OK;
}

enum srp_err sp_audio_create(struct sp_audio **out, const struct sp_audio_params *params,
                             struct srp_error *err)
{
    *out = NULL;
    struct sp_audio *a = calloc(1, sizeof *a);
    if (!a) {
        return sp_fail(err, SRP_ERR_NOMEM, "sound: no memory");
    }
    a->media = params->media;
    a->clock = params->clock;
    a->log = params->log;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    enum srp_err result = SRP_ERR_DEVICE;
    if (params->rate < 1000 || params->rate > 384000 || params->channels < 1) {
        sp_fail(err, result, "sound: the stream's sample rate is not supported");
        goto fail;
    }
    result = open_device(a, params, err);
    if (result != SRP_OK) {
        goto fail;
    }
    sp_audio_set_volume(a, params->volume, params->mute);
    a->capacity = (size_t)a->rate * ring_seconds;
    a->ring = calloc(a->capacity, (size_t)a->channels * sizeof *a->ring);
    a->frame = av_frame_alloc();
    if (!a->ring || !a->frame || pthread_create(&a->thread, NULL, reader, a) != 0) {
        result = sp_fail(err, SRP_ERR_NOMEM, "sound: no memory");
        goto fail;
    }
    a->thread_started = true;
    if (params->silent && pthread_create(&a->silent, NULL, silent_thread, a) != 0) {
        result = sp_fail(err, SRP_ERR_NOMEM, "sound: no memory");
        goto fail;
    }
    a->silent_started = params->silent;
    *out = a;
    return SRP_OK;
fail:
    sp_audio_destroy(&a);
    return result;
}

void sp_audio_destroy(struct sp_audio **out)
{
    struct sp_audio *a = *out;
    if (!a) {
        return;
    }
    if (a->thread_started) {
        pthread_mutex_lock(&a->lock);
        a->stop = true;
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
    }
    if (a->silent_started) {
        pthread_join(a->silent, NULL);
    }
    if (a->device) {
        SDL_CloseAudioDevice(a->device);
        SDL_AudioQuit();
    }
    swr_free(&a->swr);
    av_channel_layout_uninit(&a->in_layout);
    av_frame_free(&a->frame);
    free(a->resampled);
    free(a->ring);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
    *out = NULL;
}

void sp_audio_play(struct sp_audio *a, double media)
{
    pthread_mutex_lock(&a->lock);
    a->play_time = media;
    a->playing = true;
    pthread_mutex_unlock(&a->lock);
    if (a->device) {
        SDL_PauseAudioDevice(a->device, 0);
    }
}

void sp_audio_pause(struct sp_audio *a)
{
    pthread_mutex_lock(&a->lock);
    a->playing = false;
    pthread_mutex_unlock(&a->lock);
    if (a->device) {
        SDL_PauseAudioDevice(a->device, 1);
    }
}

bool sp_audio_ready(struct sp_audio *a)
{
    pthread_mutex_lock(&a->lock);
    bool ready = a->ended || a->fill * 8 > a->capacity;
    pthread_mutex_unlock(&a->lock);
    return ready;
}

void sp_audio_set_volume(struct sp_audio *a, int volume, bool mute)
{
    double v = fmin(fmax(volume, 0), 100) / 100;
    pthread_mutex_lock(&a->lock);
    /* Loudness is felt roughly as the cube root of amplitude. */
    a->gain = mute ? 0 : (float)(v * v * v);
    pthread_mutex_unlock(&a->lock);
}

void sp_audio_begin_seek(struct sp_audio *a)
{
    pthread_mutex_lock(&a->lock);
    a->seeking = true;
    a->playing = false;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}

void sp_audio_park(struct sp_audio *a)
{
    pthread_mutex_lock(&a->lock);
    while (!a->parked && !a->stop) {
        pthread_cond_wait(&a->changed, &a->lock);
    }
    pthread_mutex_unlock(&a->lock);
}

void sp_audio_end_seek(struct sp_audio *a)
{
    pthread_mutex_lock(&a->lock);
    a->fill = a->head = 0;
    a->have_time = false;
    a->ended = false;
    a->seeking = false;
    pthread_cond_broadcast(&a->changed);
    pthread_mutex_unlock(&a->lock);
}
