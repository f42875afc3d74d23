/* SPDX-License-Identifier: BSD-2-Clause */
/* kernels/rowops.h, what whole networks do not reach in all its forms. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernel/rows.h"
#include "kernels/rowops.h"

/* Columns of some channels, of rows of any element, number and width; nothing but the 8 bytes
 * behind them is written. */
static void columns(void **state)
{
    (void)state;
    uint32_t seed = 29;
    for (uint32_t i = 0; i < 3000; i++) {
        const uint32_t element = 1u << noise(&seed) % 3, height = 1 + noise(&seed) % SRP_MAX_KERNEL;
        const uint32_t stride = 1 + noise(&seed) % 12, pixels = 1 + noise(&seed) % 40;
        const uint32_t first = noise(&seed) % stride;
        const uint32_t count = i % 2 == 0 ? 1 : 1 + noise(&seed) % (stride - first);
        const size_t column = (size_t)height * count * element, bytes = pixels * column;
        struct zone rows[SRP_MAX_KERNEL], to = zone_create(bytes + 8, true);
        const void *taps[SRP_MAX_KERNEL];
        for (uint32_t k = 0; k < height; k++) {
            rows[k] = zone_create((size_t)pixels * stride * element, true);
            for (size_t b = 0; b < (size_t)pixels * stride * element; b++) {
                rows[k].data[b] = (uint8_t)noise(&seed);
            }
            taps[k] = rows[k].data;
        }
        const struct srpi_columns all = {.rows = taps,
                                         .height = height,
                                         .stride = stride,
                                         .first = first,
                                         .count = count,
                                         .pixels = pixels,
                                         .to = to.data};
        srpi_row_columns(&all, element);
        for (size_t b = 0; b < bytes; b++) {
            const size_t pixel = b / column, k = b % column / (count * element);
            const size_t at = (pixel * stride + first) * element + b % (count * element);
            assert_int_equal(to.data[b], rows[k].data[at]);
        }
        for (uint32_t k = 0; k < height; k++) {
            zone_destroy(&rows[k]);
        }
        zone_destroy(&to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(columns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
