/* SPDX-License-Identifier: BSD-2-Clause */
#include "url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

bool sp_url_is_https(const char *location)
{
    return strncasecmp(location, "https://", 8) == 0;
}

bool sp_url_is_remote(const char *location)
{
    return strncasecmp(location, "http://", 7) == 0 || sp_url_is_https(location);
}

/* Length of "scheme" when the text begins with "scheme:", else 0. */
static size_t scheme_length(const char *text)
{
    size_t n = 0;

    if (!isalpha((unsigned char)text[0])) {
        return 0;
    }
    while (isalnum((unsigned char)text[n]) || text[n] == '+' || text[n] == '-' || text[n] == '.') {
        n++;
    }
    return text[n] == ':' ? n : 0;
}

void sp_url_show(char *out, size_t size, const char *location)
{
    const char *host = strstr(location, "://");
    size_t n = 0;

    if (host != NULL && sp_url_is_remote(location)) {
        host += 3;
        const char *end = host + strcspn(host, "/?#");
        const char *at = NULL;
        for (const char *c = host; c < end; c++) {
            if (*c == '@') {
                at = c;
            }
        }
        if (at != NULL) {
            n = (size_t)snprintf(out, size, "%.*s", (int)(host - location), location);
            n = n < size ? n : size - 1;
            location = at + 1;
        }
    }
    sp_escape(out + n, size - n, location);
}

static enum srp_err refuse(struct srp_error *err, const char *base, const char *what,
                           const char *why)
{
    char shown_base[200], shown[200];

    sp_url_show(shown_base, sizeof(shown_base), base);
    sp_url_show(shown, sizeof(shown), what);
    return sp_fail(err, SRP_ERR_FORMAT, "%s: refused to open '%s': %s", shown_base, shown, why);
}

/* Through curl's parser, with `reference` (may be NULL) applied. NULL: malformed. */
static char *parse_url(const char *base, const char *reference)
{
    CURLU *u = curl_url();
    char *text = NULL, *copy = NULL;

    if (u == NULL) {
        return NULL;
    }
    if (curl_url_set(u, CURLUPART_URL, base, CURLU_NON_SUPPORT_SCHEME) == CURLUE_OK &&
        (reference == NULL ||
         curl_url_set(u, CURLUPART_URL, reference,
                      CURLU_NON_SUPPORT_SCHEME | CURLU_URLENCODE) == CURLUE_OK) &&
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_URL, &text, 0) == CURLUE_OK) {
        copy = strdup(text);
    }
    curl_free(text);
    curl_url_cleanup(u);
    return copy;
}

static enum srp_err file_url_path(char **out, const char *typed, struct srp_error *err)
{
    const char *path = typed + 5;
    char shown[300];
    int length = 0;

    sp_url_show(shown, sizeof(shown), typed);
    if (strncmp(path, "//", 2) != 0) { /* file:movie.mp4 is a path as it stands */
        *out = strdup(path);
        return *out != NULL ? SRP_OK : sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    path += 2;
    if (strncasecmp(path, "localhost/", 10) == 0) {
        path += 9;
    }
    if (*path != '/') {
        return sp_fail(err, SRP_ERR_USAGE, "%s: a file: URL names no other host", shown);
    }
    char *decoded = curl_easy_unescape(NULL, path, 0, &length);
    if (decoded == NULL) {
        return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
    }
    if (strlen(decoded) != (size_t)length) {
        curl_free(decoded);
        return sp_fail(err, SRP_ERR_USAGE, "%s: a path cannot hold a zero byte", shown);
    }
    *out = strdup(decoded);
    curl_free(decoded);
    return *out != NULL ? SRP_OK : sp_fail(err, SRP_ERR_NOMEM, "out of memory");
}

enum srp_err sp_url_from_user(char **out, const char *typed, struct srp_error *err)
{
    char shown[300];

    *out = NULL;
    if (typed == NULL || *typed == '\0') {
        return sp_fail(err, SRP_ERR_USAGE, "no file or URL given");
    }
    sp_url_show(shown, sizeof(shown), typed);
    if (sp_url_is_remote(typed)) {
        *out = parse_url(typed, NULL);
        return *out != NULL ? SRP_OK : sp_fail(err, SRP_ERR_USAGE, "%s: not a valid URL", shown);
    }
    if (strncasecmp(typed, "file:", 5) == 0) {
        return file_url_path(out, typed, err);
    }
    size_t scheme = scheme_length(typed);
    if (scheme > 0 && strncmp(typed + scheme, "://", 3) == 0) {
        return sp_fail(err, SRP_ERR_UNSUPPORTED,
                       "%s: only paths, file:, http: and https: can be opened", shown);
    }
    *out = strdup(typed);
    return *out != NULL ? SRP_OK : sp_fail(err, SRP_ERR_NOMEM, "out of memory");
}

static bool climbs(const char *path)
{
    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        if (n == 2 && path[0] == '.' && path[1] == '.') {
            return true;
        }
        path += n;
        path += strspn(path, "/");
    }
    return false;
}

static size_t directory_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

enum srp_err sp_url_allowed(const char *base, const char *location, struct srp_error *err)
{
    size_t scheme = scheme_length(location);

    if (sp_url_is_remote(location)) {
        if (sp_url_is_https(base) && !sp_url_is_https(location)) {
            return refuse(err, base, location, "https may not lead to http");
        }
        return SRP_OK;
    }
    if (sp_url_is_remote(base)) {
        return refuse(err, base, location, "a remote file can only name http and https URLs");
    }
    if (scheme > 0) {
        return refuse(err, base, location, "only plain paths, http: and https: are followed");
    }
    size_t dir = directory_length(base);
    if (strncmp(base, location, dir) != 0 || location[dir] == '/' || climbs(location + dir)) {
        return refuse(err, base, location, "a local file can only name files beside or below it");
    }
    return SRP_OK;
}

enum srp_err sp_url_resolve(char **out, const char *base, const char *reference,
                            struct srp_error *err)
{
    enum srp_err code;

    *out = NULL;
    if (*reference == '\0') {
        return refuse(err, base, reference, "an empty name");
    }
    if (sp_url_is_remote(base) || sp_url_is_remote(reference)) {
        size_t scheme = scheme_length(reference);
        if (scheme > 0 && !sp_url_is_remote(reference)) {
            return refuse(err, base, reference, "a remote file can only name http and https URLs");
        }
        *out = sp_url_is_remote(base) ? parse_url(base, reference) : parse_url(reference, NULL);
        if (*out == NULL) {
            return refuse(err, base, reference, "not a valid URL");
        }
    } else {
        size_t dir = directory_length(base);
        if (reference[0] == '/' || scheme_length(reference) > 0) {
            return refuse(err, base, reference,
                          "a local file can only name files beside or below it");
        }
        size_t length = strlen(reference);
        *out = malloc(dir + length + 1);
        if (*out == NULL) {
            return sp_fail(err, SRP_ERR_NOMEM, "out of memory");
        }
        memcpy(*out, base, dir);
        memcpy(*out + dir, reference, length + 1);
    }
    code = sp_url_allowed(base, *out, err);
    if (code != SRP_OK) {
        free(*out);
        *out = NULL;
    }
    return code;
}
