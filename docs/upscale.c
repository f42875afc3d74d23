/* SPDX-License-Identifier: BSD-2-Clause */
/* upscale.c - the smallest use of libsrp: one grey YUV420 picture, enlarged by a model.
 *
 *     cc upscale.c $(pkg-config --cflags --libs srp) -o upscale
 *     ./upscale edge16-x4.json edge16-x4.safetensors
 */
#include <srp/upscaler.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct srp_blob read_file(const char *path)
{
    struct srp_blob blob = {.name = path};
    FILE *file = fopen(path, "rb");
    static char bytes[2][1 << 20];
    static int slot;
    if (file) {
        blob.data = bytes[slot];
        blob.size = fread(bytes[slot++ & 1], 1, sizeof(bytes[0]), file);
        fclose(file);
    }
    return blob;
}

int main(int argc, char **argv)
{
    enum { W = 64, H = 48 };
    if (argc != 3) {
        fputs("usage: upscale GRAPH PARAMETERS\n", stderr);
        return 1;
    }
    struct srp_error err = {0};
    struct srp_model *model = NULL;
    struct srp_upscaler *up = NULL;
    struct srp_model_params mp = {.graph = read_file(argv[1]), .parameters = read_file(argv[2])};
    int status = 2;
    if (srp_model_create(&model, &mp, &err) == SRP_OK) {
        struct srp_model_info info;
        srp_model_get_info(model, &info);
        uint32_t s = info.scale;
        uint8_t *in = malloc(W * H * 3 / 2), *out = malloc((size_t)W * H * 3 / 2 * s * s);
        struct srp_picture a = {.format = SRP_FORMAT_YUV420, .width = W, .height = H,
                                .data = {in, in + W * H, in + W * H * 5 / 4},
                                .stride = {W, W / 2, W / 2}};
        struct srp_picture b = {.format = SRP_FORMAT_YUV420, .width = W * s, .height = H * s,
                                .data = {out, out + W * H * s * s, out + W * H * s * s * 5 / 4},
                                .stride = {(ptrdiff_t)(W * s), (ptrdiff_t)(W * s / 2),
                                           (ptrdiff_t)(W * s / 2)}};
        struct srp_upscaler_params up_params = {.model = model};
        if (in && out && srp_upscaler_create(&up, &up_params, &err) == SRP_OK) {
            memset(in, 128, W * H * 3 / 2);
            if (srp_upscaler_process(up, SRP_METHOD_SR, &a, &b, &err) == SRP_OK) {
                printf("%s: %ux%u, luma %d\n", info.name, b.width, b.height, out[W * s * 20 + 20]);
                status = 0;
            }
        }
        free(in);
        free(out);
    }
    if (status != 0) {
        fprintf(stderr, "upscale: %s: %s\n", srp_strerror(err.code), err.detail);
    }
    srp_upscaler_destroy(&up);
    srp_model_unref(&model);
    return status;
}
