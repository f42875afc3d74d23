/* SPDX-License-Identifier: BSD-2-Clause */
/* playlist.h - the little of HLS that srplay reads itself: does a playlist announce a package? */
#ifndef SP_PLAYLIST_H
#define SP_PLAYLIST_H

#include "base.h"

#define SP_PLAYLIST_MAX_BYTES (1u << 20)

/* Whether the bytes begin as an m3u8 playlist. */
bool sp_playlist_is(const void *data, size_t size);
/* The URI of EXT-X-SESSION-DATA with DATA-ID="org.srplay.manifest", as written; the caller
 * frees *uri. NOT_FOUND: there is none. FORMAT: it is malformed. NOMEM. */
enum srp_err sp_playlist_manifest(char **uri, const void *data, size_t size);

#endif
