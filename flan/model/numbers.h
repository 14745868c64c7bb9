/* Numbers as they lie in memory: single precision, or bfloat16. */
#ifndef FLAN_NUMBERS_H
#define FLAN_NUMBERS_H

#include <stdint.h>
#include <string.h>

#define SAME(x) (x)

static inline float widened(uint16_t half) {
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

#endif
