/* SPDX-License-Identifier: BSD-2-Clause */
#include "playlist.h"

#include <stdlib.h>
#include <string.h>

static const char header[] = "#EXTM3U";
static const char session_data[] = "#EXT-X-SESSION-DATA:";
static const char manifest_id[] = "org.srplay.manifest";

bool sp_playlist_is(const void *data, size_t size)
{
    const char *text = data;
    size_t n = sizeof(header) - 1;

    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        text += 3;
        size -= 3;
    }
    return size >= n && memcmp(text, header, n) == 0 &&
           (size == n || text[n] == '\n' || text[n] == '\r');
}

/* One NAME=value or NAME="value" of an attribute list; returns the rest, or NULL when malformed. */
static const char *next_attribute(const char *c, const char *end, const char **name,
                                  size_t *name_size, const char **value, size_t *value_size)
{
    const char *equals = memchr(c, '=', (size_t)(end - c));

    if (equals == NULL || equals == c) {
        return NULL;
    }
    *name = c;
    *name_size = (size_t)(equals - c);
    c = equals + 1;
    if (c < end && *c == '"') {
        const char *quote = memchr(c + 1, '"', (size_t)(end - c - 1));
        if (quote == NULL) {
            return NULL;
        }
        *value = c + 1;
        *value_size = (size_t)(quote - c - 1);
        c = quote + 1;
    } else {
        const char *comma = memchr(c, ',', (size_t)(end - c));
        *value = c;
        c = comma != NULL ? comma : end;
        *value_size = (size_t)(c - *value);
    }
    if (c < end) {
        if (*c != ',') {
            return NULL;
        }
        c++;
    }
    return c;
}

static bool equal(const char *text, size_t size, const char *with)
{
    return strlen(with) == size && memcmp(text, with, size) == 0;
}

static enum srp_err read_session_data(char **uri, const char *c, const char *end)
{
    const char *found = NULL;
    size_t found_size = 0;
    bool ours = false;

    while (c < end) {
        const char *name = NULL, *value = NULL;
        size_t name_size = 0, value_size = 0;
        c = next_attribute(c, end, &name, &name_size, &value, &value_size);
        if (c == NULL) {
            return SRP_ERR_FORMAT;
        }
        if (equal(name, name_size, "DATA-ID")) {
            ours = equal(value, value_size, manifest_id);
        } else if (equal(name, name_size, "URI")) {
            found = value;
            found_size = value_size;
        }
    }
    if (!ours) {
        return SRP_ERR_NOT_FOUND;
    }
    if (found == NULL || found_size == 0 || memchr(found, '\0', found_size) != NULL) {
        return SRP_ERR_FORMAT;
    }
    *uri = strndup(found, found_size);
    return *uri != NULL ? SRP_OK : SRP_ERR_NOMEM;
}

enum srp_err sp_playlist_manifest(char **uri, const void *data, size_t size)
{
    const char *c = data, *end = c + size;
    size_t tag = sizeof(session_data) - 1;

    *uri = NULL;
    while (c < end) {
        const char *newline = memchr(c, '\n', (size_t)(end - c));
        const char *line_end = newline != NULL ? newline : end;
        const char *next = newline != NULL ? newline + 1 : end;
        while (line_end > c && (line_end[-1] == '\r' || line_end[-1] == ' ')) {
            line_end--;
        }
        if ((size_t)(line_end - c) > tag && memcmp(c, session_data, tag) == 0) {
            enum srp_err code = read_session_data(uri, c + tag, line_end);
            if (code != SRP_ERR_NOT_FOUND) {
                return code;
            }
        }
        c = next;
    }
    return SRP_ERR_NOT_FOUND;
}
