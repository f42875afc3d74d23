/* SPDX-License-Identifier: BSD-2-Clause */
/* Every set of row kernels that this machine can run, against the reference. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernel/rows.h"

static void check_all(const char *(*check)(const struct srpi_kernels *))
{
    for (int isa = 0; isa < SRPI_ISA_COUNT; isa++) {
        const struct srpi_kernels *k = srpi_kernels_of((enum srpi_isa)isa);
        const char *why = k != NULL ? check(k) : NULL;
        if (why != NULL) {
            fail_msg("%s: %s", k->name, why);
        }
    }
}

static const char *many(const struct srpi_kernels *k)
{
    return check_random(k, 600);
}

static void random_shapes(void **state)
{
    (void)state;
    check_all(many);
}

static void row_widths(void **state)
{
    (void)state;
    check_all(check_widths);
}

static void made_for_models(void **state)
{
    (void)state;
    check_all(check_made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_shapes),
        cmocka_unit_test(row_widths),
        cmocka_unit_test(made_for_models),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
