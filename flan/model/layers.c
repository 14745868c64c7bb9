/* What lies between the matrices of a Llama's layer, each in one go over memory.
 *
 * Numbers are single precision or bfloat16 (is_half), and are rounded where the operations of PyTorch that this stands
 * for round: after each of them. Rows are shared among OpenMP's threads, which are PyTorch's.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "numbers.h"

typedef struct {
    void *input;        /* (rows, input_width) */
    const void *added;  /* norm: (rows, width) that is added to input; or NULL */
    const void *first;  /* norm: (width) weights; rotate: (rows, head) cosines */
    const void *second; /* rotate: (rows, head) sines */
    void *output;       /* norm: (rows, width), gate: (rows, width), rotate: (rows, heads, head) in single precision */
    void *keys;         /* rotate: (rows, key_heads, head) */
    int64_t rows, input_width, width, heads, key_heads, is_half, num_threads;
    float epsilon;
} Work;

static inline uint16_t narrowed(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#define ROUNDED(x) widened(narrowed(x))
#define DEFINE(SUFFIX, TYPE, LOAD, STORE, ROUND)                                                              \
    /* input += added; output = weights * input / sqrt(mean square of input) */                               \
    static void norm_##SUFFIX(const Work *w, int64_t n) {                                                     \
        int64_t width = w->width;                                                                             \
        TYPE *own = (TYPE *)w->input + n * width, *output = (TYPE *)w->output + n * width;                    \
        const TYPE *weights = w->first;                                                                       \
        float squares = 0;                                                                                    \
        if (w->added) {                                                                                       \
            const TYPE *added = (const TYPE *)w->added + n * width;                                           \
            for (int64_t d = 0; d < width; d++) own[d] = STORE(LOAD(own[d]) + LOAD(added[d]));                \
        }                                                                                                     \
        for (int64_t d = 0; d < width; d++) squares += LOAD(own[d]) * LOAD(own[d]);                           \
        float scale = 1 / sqrtf(squares / width + w->epsilon);                                                \
        for (int64_t d = 0; d < width; d++) output[d] = STORE(LOAD(weights[d]) * ROUND(LOAD(own[d]) * scale)); \
    }                                                                                                         \
    /* output = silu(first half of input) * second half */                                                    \
    static void gate_##SUFFIX(const Work *w, int64_t n) {                                                     \
        int64_t width = w->width;                                                                             \
        const TYPE *gates = (const TYPE *)w->input + n * w->input_width, *values = gates + width;             \
        TYPE *output = (TYPE *)w->output + n * width;                                                         \
        for (int64_t d = 0; d < width; d++) {                                                                 \
            float gate = LOAD(gates[d]);                                                                      \
            output[d] = STORE(ROUND(gate / (1 + expf(-gate))) * LOAD(values[d]));                             \
        }                                                                                                     \
    }                                                                                                         \
    static inline void turn_##SUFFIX(const TYPE *head, const TYPE *cosines, const TYPE *sines, int64_t half,  \
                                     float *low, float *high) {                                               \
        for (int64_t d = 0; d < half; d++) {                                                                  \
            float a = LOAD(head[d]), b = LOAD(head[half + d]);                                                \
            low[d] = ROUND(ROUND(a * LOAD(cosines[d])) + ROUND(-b * LOAD(sines[d])));                         \
            high[d] = ROUND(ROUND(b * LOAD(cosines[half + d])) + ROUND(a * LOAD(sines[half + d])));           \
        }                                                                                                     \
    }                                                                                                         \
    /* queries and keys, which input begins with, turned by their position */                                 \
    static void rotate_##SUFFIX(const Work *w, int64_t n) {                                                   \
        int64_t width = w->width, half = width / 2;                                                           \
        const TYPE *own = (const TYPE *)w->input + n * w->input_width;                                        \
        const TYPE *cosines = (const TYPE *)w->first + n * width, *sines = (const TYPE *)w->second + n * width; \
        float *queries = (float *)w->output + n * w->heads * width, turned[2 * half];                         \
        TYPE *keys = (TYPE *)w->keys + n * w->key_heads * width;                                              \
        for (int64_t h = 0; h < w->heads; h++, own += width, queries += width)                                \
            turn_##SUFFIX(own, cosines, sines, half, queries, queries + half);                                \
        for (int64_t h = 0; h < w->key_heads; h++, own += width, keys += width) {                             \
            turn_##SUFFIX(own, cosines, sines, half, turned, turned + half);                                  \
            for (int64_t d = 0; d < width; d++) keys[d] = STORE(turned[d]);                                   \
        }                                                                                                     \
    }
DEFINE(single, float, SAME, SAME, SAME)
DEFINE(half, uint16_t, widened, narrowed, ROUNDED)

static void share(const Work *work, void (*row)(const Work *, int64_t)) {
#pragma omp parallel for num_threads(work->num_threads) if (work->num_threads > 1)
    for (int64_t n = 0; n < work->rows; n++) row(work, n);
}

void norm(const Work *work) { share(work, work->is_half ? norm_half : norm_single); }
void gate(const Work *work) { share(work, work->is_half ? gate_half : gate_single); }
void rotate(const Work *work) { share(work, work->is_half ? rotate_half : rotate_single); }
