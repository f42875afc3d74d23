/* SPDX-License-Identifier: BSD-2-Clause */
/* report.h - a plan as text, JSON or graphviz. */
#ifndef SRPI_REPORT_H
#define SRPI_REPORT_H

#include <srp/plan.h>

#include "plan/layout.h"
#include "plan/shape.h"
#include "plan/stream.h"

/* What there is to tell; everything belongs to the caller. */
struct srpi_report {
    const struct srpi_program *program;
    const struct srpi_shapes *shapes;
    const enum srpi_dtype *dtype; /* of each tensor */
    const char *const *kernel;    /* of each step; "": none */
    const char *dtype_name, *isa;
    uint32_t threads;
    bool sink_reads_input;
    /* With a picture: */
    uint32_t width, height;              /* of the picture; 0: none of what follows */
    const struct srpi_stream_plan *plan;
    const struct srpi_layout *whole;     /* whole tensors, step after step, instead of rings; NULL:
                                            above the limit */
    uint64_t bound;                      /* bytes of the pixels that are alive, without padding,
                                            alignment and work memory */
};

/* *text is released with free(). Errors: NOMEM. */
enum srp_err srpi_report_write(char **text, const struct srpi_report *report,
                               enum srp_plan_format format, struct srp_error *err);

#endif
