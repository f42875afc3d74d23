/* SPDX-License-Identifier: BSD-2-Clause */
/* url.h - where things lie, and what may name what.
 * A location is either a local path (no scheme) or an http(s) URL. Only what the user typed
 * can be a local path by itself: a remote file can only name http(s) URLs, and a local
 * playlist can only name files beside and below it, or http(s) URLs. */
#ifndef SP_URL_H
#define SP_URL_H

#include "base.h"

bool sp_url_is_remote(const char *location);
bool sp_url_is_https(const char *location);

/* Location of what the user typed: path, file:, http: or https:. The caller frees *out.
 * Errors: USAGE (empty, malformed), UNSUPPORTED (another scheme), NOMEM. */
enum srp_err sp_url_from_user(char **out, const char *typed, struct srp_error *err);

/* `reference` as written in the file at `base`. The caller frees *out. Errors: FORMAT (refused or
 * malformed: one line says which), NOMEM. */
enum srp_err sp_url_resolve(char **out, const char *base, const char *reference,
                            struct srp_error *err);

/* Whether a file at `base` may name the already resolved `location`; the reason when not. */
enum srp_err sp_url_allowed(const char *base, const char *location, struct srp_error *err);

/* For messages: control bytes escaped, user name and password removed. */
void sp_url_show(char *out, size_t size, const char *location);

#endif
