/* SPDX-License-Identifier: BSD-2-Clause */
/* tanh and sigmoid: how near they are to the truth, and that they are the same bits everywhere. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hash.h"
#include "kernels/activation.h"

#define COUNT 4099u

/* Every 977th float that is finite, both signs. */
static uint32_t fill(uint32_t bits, float *values)
{
    for (uint32_t i = 0; i < COUNT; bits += 977) {
        if ((bits & 0x7f800000u) != 0x7f800000u) {
            memcpy(&values[i++], &bits, sizeof(bits));
        }
    }
    return bits;
}

static double ulps(float got, double exact)
{
    int exponent;
    frexp((double)(float)exact, &exponent);
    return fabs((double)got - exact) / ldexp(1.0, exponent < -125 ? -149 : exponent - 24);
}

static void is_near_the_truth(void **state)
{
    (void)state;
    static float x[COUNT], t[COUNT], s[COUNT];
    double worst_tanh = 0.0, worst_sigmoid = 0.0;
    uint32_t bits = 0;
    for (uint32_t round = 0; round < UINT32_MAX / 977 / COUNT; round++) {
        bits = fill(bits, x);
        srpi_row_tanh(x, t, COUNT);
        srpi_row_sigmoid(x, s, COUNT);
        for (uint32_t i = 0; i < COUNT; i++) {
            const double exact = 1.0 / (1.0 + exp(-(double)x[i]));
            worst_tanh = fmax(worst_tanh, ulps(t[i], tanh((double)x[i])));
            worst_sigmoid = fmax(worst_sigmoid, x[i] > -87.0f ? ulps(s[i], exact) : 0.0);
            assert_true(fabs((double)s[i] - exact) < 1e-7 && s[i] >= 0.0f && s[i] <= 1.0f);
            assert_true(t[i] >= -1.0f && t[i] <= 1.0f && !signbit(t[i]) == !signbit(x[i]));
        }
    }
    assert_true(worst_tanh > 0.5 && worst_tanh < 1.6);
    assert_true(worst_sigmoid > 0.5 && worst_sigmoid < 2.4);
}

static void has_the_same_bits_everywhere(void **state)
{
    (void)state;
    static float x[COUNT], y[COUNT], one[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        x[i] = ((float)i - 2048.0f) / 201.0f;
    }
    srpi_row_tanh(x, y, COUNT);
    assert_int_equal(hash_floats(y, COUNT), UINT64_C(0x3ae9e012d312bb57));
    memcpy(one, x, sizeof(x));
    for (uint32_t i = 0; i < COUNT; i++) {
        srpi_row_tanh(&one[i], &one[i], 1);
    }
    assert_memory_equal(one, y, sizeof(y));
    srpi_row_sigmoid(x, y, COUNT);
    assert_int_equal(hash_floats(y, COUNT), UINT64_C(0x585d442b2fbc9d76));
    memcpy(one, x, sizeof(x));
    for (uint32_t i = 0; i < COUNT; i++) {
        srpi_row_sigmoid(&one[i], &one[i], 1);
    }
    assert_memory_equal(one, y, sizeof(y));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_near_the_truth),
        cmocka_unit_test(has_the_same_bits_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
