/* SPDX-License-Identifier: BSD-2-Clause */
/* scene.c - renders the demo clip: a harbour town at dusk, 1920x1080, 24 fps, with sound.
 *
 *     demo-scene --frames 96 --video scene.y4m|- [--audio scene.wav]
 *
 * A still town is drawn once, four by four samples per pixel, into a picture larger than the frame;
 * each frame looks at it through a moving, zooming camera (Catmull-Rom) and adds what moves: water,
 * boat, light beam. Everything follows from integer hashes: every run renders the same clip. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 1920, HEIGHT = 1080, FPS = 24, RATE = 48000 };
enum { TOWN_W = 3000, TOWN_H = 900, SAMPLES = 4 };  /* the town's picture ends at the water line */
enum { BOAT_W = 520, BOAT_H = 220 };

struct rgb { float r, g, b; };

/* R, G, B, premultiplied by A. Four lanes at a time is what makes a frame take 0.1 s. */
typedef float rgba __attribute__((vector_size(16)));

static struct rgb mix(struct rgb a, struct rgb b, float t)
{
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    return (struct rgb){a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

static struct rgb scale(struct rgb a, float k)
{
    return (struct rgb){a.r * k, a.g * k, a.b * k};
}

/* Uniform in 0..1 from three integers. */
static float hash(int x, int y, int seed)
{
    uint32_t h = (uint32_t)x * 0x9E3779B1u ^ (uint32_t)y * 0x85EBCA77u
                 ^ (uint32_t)seed * 0xC2B2AE3Du;
    h ^= h >> 15;
    h *= 0x2C1B3C6Du;
    h ^= h >> 12;
    h *= 0x297A2D39u;
    h ^= h >> 15;
    return (float)(h >> 8) / 16777216.0f;
}

/* Without SSE4.1 floorf is a call. */
static int whole(float x)
{
    int i = (int)x;
    return i - (x < (float)i);
}

static float noise(float x, float y, int seed)
{
    int ix = whole(x), iy = whole(y);
    float fx = x - (float)ix, fy = y - (float)iy;
    fx = fx * fx * (3 - 2 * fx);
    fy = fy * fy * (3 - 2 * fy);
    float top = hash(ix, iy, seed) * (1 - fx) + hash(ix + 1, iy, seed) * fx;
    float low = hash(ix, iy + 1, seed) * (1 - fx) + hash(ix + 1, iy + 1, seed) * fx;
    return top * (1 - fy) + low * fy;
}

static float fractal(float x, float y, int seed)
{
    return 0.5f * noise(x, y, seed) + 0.3f * noise(x * 2.1f, y * 2.1f, seed + 1)
           + 0.2f * noise(x * 4.3f, y * 4.3f, seed + 2);
}

/* ---- lettering: 5x7 cells, one byte per row, the letters that the signs use ------------------ */

static const struct { char letter; uint8_t rows[7]; } font[] = {
    {'A', {14, 17, 17, 31, 17, 17, 17}}, {'B', {30, 17, 17, 30, 17, 17, 30}},
    {'C', {14, 17, 16, 16, 16, 17, 14}}, {'E', {31, 16, 16, 30, 16, 16, 31}},
    {'F', {31, 16, 16, 30, 16, 16, 16}}, {'H', {17, 17, 17, 31, 17, 17, 17}},
    {'I', {14, 4, 4, 4, 4, 4, 14}},      {'K', {17, 18, 20, 24, 20, 18, 17}},
    {'L', {16, 16, 16, 16, 16, 16, 31}}, {'N', {17, 25, 21, 19, 17, 17, 17}},
    {'O', {14, 17, 17, 17, 17, 17, 14}}, {'P', {30, 17, 17, 30, 16, 16, 16}},
    {'R', {30, 17, 17, 30, 20, 18, 17}}, {'S', {15, 16, 16, 14, 1, 1, 30}},
    {'T', {31, 4, 4, 4, 4, 4, 4}},       {'Y', {17, 17, 10, 4, 4, 4, 4}},
};

/* Whether (u, v), in cells from the text's top left, is ink. Letters are 6 cells apart. */
static int ink(const char *text, float u, float v)
{
    if (u < 0 || v < 0 || v >= 7) {
        return 0;
    }
    size_t at = (size_t)(u / 6);
    int column = (int)u - (int)at * 6, row = (int)v;
    if (at >= strlen(text) || column > 4) {
        return 0;
    }
    for (size_t i = 0; i < sizeof(font) / sizeof(font[0]); i++) {
        if (font[i].letter == text[at]) {
            return font[i].rows[row] >> (4 - column) & 1;
        }
    }
    return 0;
}

/* ---- the town -------------------------------------------------------------------------------- */

struct house {
    float left, right, top, roof; /* the roof's height above top */
    int seed;
    struct rgb wall;
    const char *sign;
};

enum { HOUSES = 26 };

static int make_houses(struct house *houses)
{
    static const char *const signs[] = {"CAFE", "BAKERY", "SRPLAY", "FISH",
                                        "BOOKS", "HOTEL", "TEA", "INN"};
    static const struct rgb walls[] = {
        {0.55f, 0.27f, 0.20f}, {0.62f, 0.50f, 0.33f}, {0.36f, 0.40f, 0.46f},
        {0.58f, 0.36f, 0.30f}, {0.45f, 0.47f, 0.35f}, {0.66f, 0.58f, 0.46f},
    };
    float x = -20;
    int n = 0;
    while (n < HOUSES && x < TOWN_W) {
        struct house *h = &houses[n];
        float width = 110 + 90 * hash(n, 1, 7);
        *h = (struct house){x, x + width, 330 + 190 * hash(n, 2, 7), 50 + 60 * hash(n, 3, 7), n,
                            walls[(int)(hash(n, 4, 7) * 5.99f)], signs[(n * 5) % 8]};
        x += width;
        n++;
    }
    return n;
}

static struct rgb sky(float x, float y)
{
    struct rgb c = mix((struct rgb){0.07f, 0.10f, 0.25f}, (struct rgb){0.95f, 0.55f, 0.35f},
                       powf(y / 640, 1.6f));
    float cloud = fractal(x / 210, y / 60, 40);
    c = mix(c, (struct rgb){0.85f, 0.50f, 0.50f}, (cloud - 0.52f) * 2.2f * (y / 500));
    float mx = x - 1650, my = y - 150;
    float moon = sqrtf(mx * mx + my * my);
    if (moon < 52) {
        float crater = fractal(mx / 14, my / 14, 60);
        return scale((struct rgb){0.98f, 0.94f, 0.82f}, 0.72f + 0.35f * crater);
    }
    c = mix(c, (struct rgb){0.9f, 0.85f, 0.75f}, 0.35f * expf(-(moon - 52) / 40));
    int sx = (int)(x / 23), sy = (int)(y / 23);
    if (hash(sx, sy, 70) > 0.72f && y < 330) {
        float dx = x - ((float)sx + 0.2f + 0.6f * hash(sx, sy, 71)) * 23;
        float dy = y - ((float)sy + 0.2f + 0.6f * hash(sx, sy, 72)) * 23;
        float glow = expf(-(dx * dx + dy * dy) / (1.0f + 1.2f * hash(sx, sy, 73)));
        c = mix(c, (struct rgb){1, 0.98f, 0.9f}, glow * (1 - y / 330));
    }
    return c;
}

static struct rgb brick(float x, float y, struct rgb base, int seed)
{
    float row = floorf(y / 9);
    float along = x / 21 + ((int)row & 1 ? 0.5f : 0);
    float column = floorf(along);
    float tone = 0.69f + 0.4f * hash((int)column, (int)row, seed)
                 + 0.12f * noise(x / 2, y / 2, seed);
    int mortar = y - row * 9 < 1.4f || (along - column) * 21 < 1.4f;
    return mortar ? scale((struct rgb){0.52f, 0.48f, 0.45f}, 0.8f) : scale(base, tone);
}

static struct rgb window(float u, float v, float w, float h, int lit, int seed, float x, float y)
{
    const struct rgb frame = {0.86f, 0.84f, 0.78f};
    float bar = fabsf(u - w / 2), rail = fabsf(v - h * 0.4f);
    if (u < 3 || v < 3 || u > w - 3 || v > h - 3 || bar < 1.5f || rail < 1.5f) {
        return scale(frame, 0.8f + 0.2f * noise(x / 5, y / 3, seed));
    }
    if (!lit) {
        return mix((struct rgb){0.10f, 0.13f, 0.20f}, (struct rgb){0.45f, 0.35f, 0.40f},
                   0.6f * noise(x / 17 + y / 11, y / 25, seed));
    }
    float fold = 0.5f + 0.5f * sinf(u * 1.3f + 2 * noise(u / 6, v / 9, seed));
    int curtain = u < w * 0.26f || u > w * 0.74f;
    struct rgb glow = mix((struct rgb){1, 0.8f, 0.42f}, (struct rgb){0.95f, 0.6f, 0.25f}, v / h);
    return curtain ? scale((struct rgb){0.85f, 0.55f, 0.38f}, 0.55f + 0.35f * fold)
                   : scale(glow, 0.85f + 0.2f * noise(x / 9, y / 9, seed));
}

static struct rgb facade(const struct house *h, float x, float y)
{
    float width = h->right - h->left, u = x - h->left, v = y - h->top;
    struct rgb wall = h->seed % 3 == 1
        ? scale(h->wall, 0.8f + 0.3f * fractal(x / 30, y / 30, h->seed)
                             - 0.1f * noise(x, y, h->seed))
        : brick(x, y, h->wall, h->seed);
    if (u < 4 || u > width - 4 || v < 7) {
        return scale((struct rgb){0.75f, 0.70f, 0.62f}, 0.7f + 0.3f * noise(x / 4, y / 4, 3));
    }
    if (y > 812) { /* ground floor: sign, awning, shop window */
        if (y < 840) {
            float cell = 3.2f, length = (float)strlen(h->sign) * 6 - 1;
            float left = width / 2 - length * cell / 2;
            struct rgb board = scale((struct rgb){0.12f, 0.22f, 0.24f},
                                     0.8f + 0.3f * noise(x / 20, y / 2, 5));
            return ink(h->sign, (u - left) / cell, (y - 815) / cell)
                       ? (struct rgb){0.98f, 0.88f, 0.55f} : board;
        }
        if (y < 852) {
            return (int)(u / 8) & 1 ? (struct rgb){0.85f, 0.82f, 0.76f}
                                    : (struct rgb){0.62f, 0.16f, 0.14f};
        }
        return window(fmodf(u, width / 2), y - 852, width / 2, 60, 1, h->seed, x, y);
    }
    float pitch = 46, storey = 72;
    int column = (int)floorf((u - 8) / pitch), row = (int)floorf((v - 18) / storey);
    float wu = u - 8 - (float)column * pitch - 8, wv = v - 18 - (float)row * storey;
    if (column < 0 || row < 0 || (float)(column + 1) * pitch >= width - 6
        || h->top + 18 + (float)row * storey + 52 >= 812) {
        return wall;
    }
    if (wu >= 0 && wu < 30 && wv >= 0 && wv < 46) {
        int lit = hash(column, row, h->seed + 90) > 0.45f;
        return window(wu, wv, 30, 46, lit, h->seed + column, x, y);
    }
    if (wv >= 46 && wv < 51 && wu > -3 && wu < 33) {
        return (struct rgb){0.68f, 0.64f, 0.58f}; /* sill */
    }
    return wall;
}

static struct rgb tiles(const struct house *h, float x, float y)
{
    float row = floorf(y / 7), along = x / 10 + ((int)row & 1 ? 0.5f : 0), column = floorf(along);
    float du = (along - column) * 2 - 1, dv = (y - row * 7) / 7;
    float tone = 0.65f + 0.35f * hash((int)column, (int)row, h->seed + 30);
    float edge = dv > 1 - 0.35f * du * du ? 0.45f : 1;
    struct rgb clay = h->seed & 1 ? (struct rgb){0.50f, 0.22f, 0.16f}
                                  : (struct rgb){0.24f, 0.25f, 0.30f};
    return scale(clay, tone * edge * (0.8f + 0.4f * dv));
}

static struct rgb town(const struct house *houses, int count, float x, float y)
{
    if (y > 885) { /* quay */
        int column = (int)(x / 26);
        float gap = x - (float)column * 26 < 2;
        float tone = 0.5f + (1 - gap) * (0.1f + 0.35f * hash(column, (int)(y / 8), 9));
        return scale((struct rgb){0.42f, 0.40f, 0.40f}, tone + 0.2f * noise(x / 3, y / 3, 8));
    }
    for (int i = 0; i < count; i++) {
        const struct house *h = &houses[i];
        if (x < h->left || x >= h->right) {
            continue;
        }
        float half = (h->right - h->left) / 2, off = fabsf(x - h->left - half) / half;
        if (y >= h->top) {
            return facade(h, x, y);
        }
        if (y >= h->top - h->roof * (1 - off)) {
            return tiles(h, x, y);
        }
        float stack = x - h->left - half * 0.5f; /* chimney */
        if (stack > 0 && stack < 20 && y > h->top - h->roof - 12) {
            return brick(x, y, (struct rgb){0.45f, 0.22f, 0.18f}, 77);
        }
    }
    float hill = 560 - 130 * fractal(x / 420, 3, 20) - 12 * noise(x / 7, 1, 21);
    if (y > hill) {
        return scale((struct rgb){0.16f, 0.20f, 0.24f}, 0.6f + 0.8f * fractal(x / 12, y / 9, 22));
    }
    return sky(x, y);
}

/* The boat at (x, y) of its picture. */
static rgba boat(float x, float y)
{
    struct rgb c = {0, 0, 0};
    float alpha = 0, deck = 132, taper = (y - deck) * 0.55f;
    if (y > deck && y < 200 && x > 14 + taper && x < BOAT_W - 10 - taper) { /* hull */
        int stripe = y > 146 && y < 152;
        c = stripe ? (struct rgb){0.92f, 0.88f, 0.80f}
                   : scale((struct rgb){0.15f, 0.30f, 0.45f},
                           0.8f + 0.3f * noise(x / 3, y / 12, 50));
        if (ink("SRPLAY", (x - 190) / 5, (y - 158) / 5)) {
            c = (struct rgb){0.98f, 0.93f, 0.80f};
        }
        alpha = 1;
    } else if (y > 62 && y <= deck && x > 110 && x < 400) { /* cabin */
        c = scale((struct rgb){0.82f, 0.78f, 0.70f}, 0.85f + 0.2f * noise(x / 25, y / 2, 51));
        float u = fmodf(x - 118, 42), v = y - 76;
        if (u < 30 && v > 0 && v < 34 && x > 118) {
            c = window(u, v, 30, 34, 1, (int)(x / 42), x, y);
        }
        alpha = 1;
    } else if (y > 6 && y <= 62 && x > 300 && x < 344) { /* funnel */
        c = y > 18 && y < 32 ? (struct rgb){0.9f, 0.85f, 0.7f} : (struct rgb){0.62f, 0.14f, 0.12f};
        alpha = 1;
    } else if (y > 104 && y <= deck && x > 24 && x < BOAT_W - 24
               && (fmodf(x, 22) < 2.5f || y < 107)) { /* railing */
        c = (struct rgb){0.85f, 0.84f, 0.80f};
        alpha = 1;
    }
    return (rgba){c.r, c.g, c.b, 1} * alpha;
}

/* ---- still pictures, drawn once -------------------------------------------------------------- */

struct stills {
    rgba *town; /* [TOWN_H][TOWN_W] */
    rgba *boat; /* [BOAT_H][BOAT_W] */
};

static void draw_stills(const struct stills *stills)
{
    struct house houses[HOUSES];
    int count = make_houses(houses);
    for (int i = 0; i < TOWN_W * TOWN_H; i++) {
        rgba sum = {0, 0, 0, 0};
        for (int s = 0; s < SAMPLES * SAMPLES; s++) {
            struct rgb c = town(houses, count,
                                (float)(i % TOWN_W) + ((float)(s % SAMPLES) + 0.5f) / SAMPLES,
                                (float)(i / TOWN_W) + ((float)(s / SAMPLES) + 0.5f) / SAMPLES);
            sum += (rgba){c.r, c.g, c.b, 1};
        }
        stills->town[i] = sum / (SAMPLES * SAMPLES);
    }
    for (int i = 0; i < BOAT_W * BOAT_H; i++) {
        rgba sum = {0, 0, 0, 0};
        for (int s = 0; s < SAMPLES * SAMPLES; s++) {
            sum += boat((float)(i % BOAT_W) + ((float)(s % SAMPLES) + 0.5f) / SAMPLES,
                        (float)(i / BOAT_W) + ((float)(s / SAMPLES) + 0.5f) / SAMPLES);
        }
        stills->boat[i] = sum / (SAMPLES * SAMPLES);
    }
}

/* Catmull-Rom at (x, y), edges replicated. */
static rgba sample(const rgba *picture, int width, int height, float x, float y)
{
    int ix = whole(x), iy = whole(y);
    float wx[4], wy[4];
    for (int axis = 0; axis < 2; axis++) {
        float t = axis ? y - (float)iy : x - (float)ix, *w = axis ? wy : wx;
        w[0] = ((-0.5f * t + 1) * t - 0.5f) * t;
        w[1] = (1.5f * t - 2.5f) * t * t + 1;
        w[2] = ((-1.5f * t + 2) * t + 0.5f) * t;
        w[3] = (0.5f * t - 0.5f) * t * t;
    }
    rgba sum = {0, 0, 0, 0};
    for (int j = 0; j < 4; j++) {
        int sy = iy - 1 + j;
        sy = sy < 0 ? 0 : sy >= height ? height - 1 : sy;
        const rgba *row = picture + sy * width;
        rgba line = {0, 0, 0, 0};
        for (int i = 0; i < 4; i++) {
            int sx = ix - 1 + i;
            sx = sx < 0 ? 0 : sx >= width ? width - 1 : sx;
            line += row[sx] * wx[i];
        }
        sum += line * wy[j];
    }
    return sum;
}

/* ---- frames ---------------------------------------------------------------------------------- */

static rgba pixel(const struct stills *stills, float x, float y, float seconds)
{
    rgba out;
    if (y < TOWN_H) {
        out = sample(stills->town, TOWN_W, TOWN_H, x - 0.5f, y - 0.5f);
    } else { /* water: the town upside down, in waves that lengthen towards the viewer */
        float depth = y - TOWN_H, wave = 7 + depth * 0.10f;
        float phase = depth * 6.2831853f / wave;
        float slope = sinf(phase - 3.1f * seconds + 2 * noise(x / 70, depth / 9, 80))
                      + 0.6f * sinf(phase * 0.63f + x / 41 + 2.3f * seconds);
        float mirrored = TOWN_H - 16 - depth * 1.9f + slope * (2 + depth * 0.05f);
        out = sample(stills->town, TOWN_W, TOWN_H, x + slope * (1.5f + depth * 0.03f), mirrored);
        out = out * (0.62f + 0.07f * slope) + (rgba){0, 0, 0.02f, 0};
    }
    float bx = x - (700 + 62 * seconds), by = y - (TOWN_H - 108 + 4 * sinf(1.7f * seconds));
    if (bx > -2 && bx < BOAT_W + 2 && by > -2 && by < BOAT_H + 2) {
        rgba over = sample(stills->boat, BOAT_W, BOAT_H, bx - 0.5f, by - 0.5f);
        out = out * (1 - over[3]) + over;
    }
    float lx = x - 2480, ly = y - 300; /* the beam of a lighthouse outside the picture */
    float centre = tanf(0.45f * sinf(0.9f * seconds));
    if (lx < 0 && fabsf(ly + lx * centre) < -0.4f * lx) {
        float angle = atan2f(ly, -lx) - atanf(centre);
        out += expf(-angle * angle * 90) * 0.22f * (rgba){1, 0.95f, 0.75f, 0};
    }
    return out;
}

static uint8_t code(float v)
{
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : lrintf(v));
}

/* BT.709, limited range; chroma co-sited with even luma columns, centred between lines. */
static int write_frame(FILE *file, const rgba *picture, uint8_t *planes)
{
    uint8_t *luma = planes, *u = planes + WIDTH * HEIGHT, *v = u + WIDTH * HEIGHT / 4;
    for (int i = 0; i < WIDTH * HEIGHT; i++) {
        rgba p = picture[i];
        luma[i] = code(16 + 219 * (0.2126f * p[0] + 0.7152f * p[1] + 0.0722f * p[2]));
    }
    for (int y = 0; y < HEIGHT / 2; y++) {
        for (int x = 0; x < WIDTH / 2; x++) {
            const rgba *p = picture + 2 * y * WIDTH + 2 * x, *q = p + WIDTH;
            int left = x > 0 ? -1 : 0;
            rgba mean = 0.125f * (p[left] + q[left] + p[1] + q[1]) + 0.25f * (p[0] + q[0]);
            float l = 0.2126f * mean[0] + 0.7152f * mean[1] + 0.0722f * mean[2];
            *u++ = code(128 + 224 * (mean[2] - l) / 1.8556f);
            *v++ = code(128 + 224 * (mean[0] - l) / 1.5748f);
        }
    }
    return fputs("FRAME\n", file) >= 0
           && fwrite(planes, 1, WIDTH * HEIGHT * 3 / 2, file) == WIDTH * HEIGHT * 3 / 2;
}

static int render(FILE *file, int frames)
{
    struct stills stills = {aligned_alloc(16, sizeof(rgba) * TOWN_W * TOWN_H),
                            aligned_alloc(16, sizeof(rgba) * BOAT_W * BOAT_H)};
    rgba *picture = aligned_alloc(16, sizeof(rgba) * WIDTH * HEIGHT);
    uint8_t *planes = malloc(WIDTH * HEIGHT * 3 / 2);
    int ok = stills.town && stills.boat && picture && planes;
    if (ok) {
        draw_stills(&stills);
        ok = fprintf(file, "YUV4MPEG2 W%d H%d F%d:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n",
                     WIDTH, HEIGHT, FPS) > 0;
    }
    for (int f = 0; ok && f < frames; f++) {
        float seconds = (float)f / FPS, zoom = 1 + 0.02f * seconds;
        float left = 380 + 58 * seconds, top = 60 + 6 * seconds;
        for (int i = 0; i < WIDTH * HEIGHT; i++) {
            picture[i] = pixel(&stills, left + ((float)(i % WIDTH) + 0.5f) / zoom,
                               top + ((float)(i / WIDTH) + 0.5f) / zoom, seconds);
        }
        ok = write_frame(file, picture, planes);
    }
    free(stills.town);
    free(stills.boat);
    free(picture);
    free(planes);
    return ok;
}

/* ---- sound: a slow chord, bells above it, and the sea ---------------------------------------- */

static void put(FILE *file, uint32_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        fputc((int)(value >> (8 * i) & 255), file);
    }
}

static int write_sound(FILE *file, int frames)
{
    static const float chord[] = {110.0f, 164.81f, 220.0f, 277.18f};
    static const float bells[] = {659.26f, 880.0f, 739.99f, 1108.73f,
                                  987.77f, 659.26f, 880.0f, 554.37f};
    uint32_t samples = (uint32_t)frames * (RATE / FPS);
    fwrite("RIFF", 1, 4, file);
    put(file, 36 + samples * 4, 4);
    fwrite("WAVEfmt ", 1, 8, file);
    put(file, 16, 4);
    put(file, 1, 2);
    put(file, 2, 2);
    put(file, RATE, 4);
    put(file, RATE * 4, 4);
    put(file, 4, 2);
    put(file, 16, 2);
    fwrite("data", 1, 4, file);
    put(file, samples * 4, 4);
    float sea = 0;
    for (uint32_t i = 0; i < samples; i++) {
        float t = (float)i / RATE, end = (float)samples / RATE - t;
        float fade = fminf(1, fminf(t / 0.4f, end / 0.4f)), pad = 0, bell = 0;
        for (int k = 0; k < 4; k++) {
            float swell = 1 + 0.3f * sinf(0.9f * t + (float)k);
            pad += 0.055f * swell * sinf(6.2831853f * chord[k] * t);
        }
        int note = (int)(t * 2);
        float since = t - (float)note * 0.5f, decay = expf(-3.5f * since) * fminf(1, since * 200);
        bell = 0.16f * decay * (sinf(6.2831853f * bells[note % 8] * t)
                                + 0.35f * sinf(6.2831853f * 2.76f * bells[note % 8] * t));
        sea += 0.02f * (hash((int)i, 0, 99) * 2 - 1 - sea);
        float surf = 0.5f * sea * (0.6f + 0.4f * sinf(1.4f * t));
        for (int side = 0; side < 2; side++) {
            float v = fade * (pad + surf + bell * ((note & 1) == side ? 1 : 0.6f));
            put(file, (uint32_t)(int32_t)lrintf(32767 * fmaxf(-1, fminf(1, v))) & 0xFFFF, 2);
        }
    }
    return !ferror(file);
}

static FILE *open_output(const char *path)
{
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "wb");
    if (!file) {
        fprintf(stderr, "demo-scene: error: %s: %s\n", path, strerror(errno));
    }
    return file;
}

int main(int argc, char **argv)
{
    const char *video = NULL, *audio = NULL;
    int frames = 96;
    for (int i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--video") == 0) {
            video = argv[i + 1];
        } else if (strcmp(argv[i], "--audio") == 0) {
            audio = argv[i + 1];
        } else if (strcmp(argv[i], "--frames") == 0) {
            frames = atoi(argv[i + 1]);
        }
    }
    if ((!video && !audio) || argc % 2 == 0 || frames < 1 || frames > 1000) {
        fputs("usage: demo-scene [--frames 1..1000] [--video FILE|-] [--audio FILE]\n", stderr);
        return 1;
    }
    for (int pass = 0; pass < 2; pass++) {
        const char *path = pass ? audio : video;
        FILE *file = path ? open_output(path) : NULL;
        if (path && !file) {
            return 2;
        }
        int ok = !file || (pass ? write_sound(file, frames) : render(file, frames));
        if (file && fclose(file) != 0) {
            ok = 0;
        }
        if (!ok) {
            fprintf(stderr, "demo-scene: error: %s: could not be written\n", path);
            return 2;
        }
    }
    return 0;
}
