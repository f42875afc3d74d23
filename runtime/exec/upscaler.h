/* SPDX-License-Identifier: BSD-2-Clause */
/* upscaler.h - what tests need of an upscaler. */
#ifndef SRPI_UPSCALER_H
#define SRPI_UPSCALER_H

#include <srp/upscaler.h>

/* Whether the end of the network is done while the picture is stored (the default) or by the
 * executor.
 * Errors: as srp_upscaler_set_model. */
enum srp_err srpi_upscaler_set_fused(struct srp_upscaler *up, bool fused, struct srp_error *err);

#endif
