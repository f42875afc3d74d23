/* SPDX-License-Identifier: BSD-2-Clause */
/* srp/common.h - error codes, logging and version of libsrp.
 *
 * Thread-safety: every function here is safe to call from any thread. */
#ifndef SRP_COMMON_H
#define SRP_COMMON_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SRP_VERSION_MAJOR 0
#define SRP_VERSION_MINOR 1
#define SRP_VERSION_PATCH 0
#define SRP_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define SRP_API __attribute__((visibility("default")))
#else
#define SRP_API
#endif

/* Every function that can fail returns one of these: negative, in families of thousands. */
enum srp_err {
    SRP_OK = 0,
    SRP_ERR_IO = -1000,          /* reading or writing failed */
    SRP_ERR_NOT_FOUND = -1001,   /* the named file or object does not exist */
    SRP_ERR_NETWORK = -1002,     /* a transfer failed for good (after retries) */
    SRP_ERR_PARSE = -2000,       /* not well-formed JSON / safetensors / playlist / zstd */
    SRP_ERR_FORMAT = -2001,      /* a field is missing, duplicated or of a wrong type or value */
    SRP_ERR_LIMIT = -2002,       /* a size or count is above srp/limits.h */
    SRP_ERR_HASH = -2003,        /* the SHA-256 does not match */
    SRP_ERR_SIZE = -2004,        /* shorter or longer than declared */
    SRP_ERR_UNSUPPORTED = -2005, /* a version, codec or operator unknown to this build */
    SRP_ERR_GRAPH = -3000,       /* an impossible graph: cycle, shape conflict, missing tensor */
    SRP_ERR_PARAMS = -3001,      /* a parameter tensor is missing, surplus or of a wrong shape */
    SRP_ERR_NONFINITE = -3002,   /* NaN or infinity in the parameters */
    SRP_ERR_DECODE = -4000,      /* video or audio could not be decoded */
    SRP_ERR_DEVICE = -5000,      /* a backend, display or audio device failed */
    SRP_ERR_NOMEM = -6000,       /* out of memory */
    SRP_ERR_USAGE = -7000,       /* the caller broke the contract of the function */
};

/* Filled by functions that fail; `detail` is one sentence without a newline that names the file,
 * field, node or byte offset at fault. Bytes from outside are escaped. The caller owns it; a NULL
 * `struct srp_error *` is accepted everywhere. Untouched on success. */
struct srp_error {
    enum srp_err code;
    char detail[512];
};

/* A short constant name of a code, for example "hash mismatch". Never NULL. */
SRP_API const char *srp_strerror(enum srp_err code);

/* "0.1.0": the version of the library in use, for comparison with SRP_VERSION_STRING. */
SRP_API const char *srp_version(void);

/* The instruction set that the library's own kernels use on this machine: "scalar", "avx2",
 * "avxvnni", "avx512", "avx512bf16", "amx", "neon" or "dotprod". */
SRP_API const char *srp_isa(void);

/* Bytes in memory, with the name used for them in error messages. The library never keeps `data`
 * beyond the call that takes it. */
struct srp_blob {
    const void *data;
    size_t size;
    const char *name; /* NULL: a generic name */
};

#ifdef __cplusplus
}
#endif
#endif
