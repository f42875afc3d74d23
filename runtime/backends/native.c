/* SPDX-License-Identifier: BSD-2-Clause */
/* The library's own engine. The executor runs it by streams (exec/stream.c), not node by node. */
#include "backends/backend.h"

static bool usable(void)
{
    return true;
}

const struct srpi_backend srpi_backend_native = {.id = SRP_BACKEND_NATIVE, .usable = usable};
