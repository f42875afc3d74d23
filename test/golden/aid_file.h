/* SPDX-License-Identifier: BSD-2-Clause */
/* aid_file.h - how the programs of test/golden read a file: whole, or the program ends. */
#ifndef TEST_AID_FILE_H
#define TEST_AID_FILE_H

#include <stdio.h>
#include <stdlib.h>

#include <srp/common.h>

static inline struct srp_blob read_file(const char *path)
{
    struct srp_blob blob = {.name = path};
    FILE *f = fopen(path, "rb");
    if (f == NULL || fseek(f, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    blob.size = (size_t)ftell(f);
    rewind(f);
    void *data = malloc(blob.size + 1);
    if (data == NULL || fread(data, 1, blob.size, f) != blob.size) {
        perror(path);
        exit(1);
    }
    fclose(f);
    blob.data = data;
    return blob;
}

#endif
