/* Attention of one query each to the keys of a sequence, for many sequences at once.
 *
 * Each query reads a stretch of the cache, (places, heads, width), row by row: all heads of a key lie side by side, so
 * memory is read once and in order, which is what it costs. Sums are single precision whatever the cache holds.
 * Threads are OpenMP's, which are PyTorch's: others would wait for a core while those spin.
 */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "numbers.h"

typedef struct {
    const float *queries;   /* (tokens, heads * repeats, width) */
    const void *keys;       /* (places, heads, width) */
    const void *values;
    float *output;          /* as queries */
    const int64_t *tokens;  /* of each row: its query */
    const int64_t *places;  /* its first key */
    const int64_t *counts;  /* its keys */
    const float *bias;      /* (heads * repeats, bias_length), of the last keys of a row; or NULL */
    int64_t bias_length, num_rows, heads, repeats, width, is_half, num_threads;
    float scale;
} Work;

#define DEFINE(NAME, TYPE, LOAD)                                                                     \
    static inline void NAME(const float *query, const TYPE *keys, const TYPE *values, float *scores, \
                            float *output, int64_t num_keys, int64_t heads, int64_t repeats,         \
                            int64_t width, float scale, const float *bias, int64_t bias_length) {    \
        int64_t row = heads * width, all = heads * repeats;                                          \
        for (int64_t k = 0; k < num_keys; k++)                                                       \
            for (int64_t h = 0; h < all; h++) {                                                      \
                const TYPE *key = keys + k * row + h / repeats * width;                              \
                const float *own = query + h * width;                                                \
                float sum = 0;                                                                       \
                for (int64_t d = 0; d < width; d++) sum += own[d] * LOAD(key[d]);                    \
                scores[h * num_keys + k] = sum * scale;                                              \
            }                                                                                        \
        for (int64_t h = 0; h < all; h++) {                                                          \
            float *own = scores + h * num_keys, total = 0;                                           \
            if (bias)                                                                                \
                for (int64_t k = 0; k < num_keys; k++)                                               \
                    own[k] += bias[(h + 1) * bias_length - num_keys + k];                            \
            float top = own[0];                                                                      \
            for (int64_t k = 1; k < num_keys; k++) top = own[k] > top ? own[k] : top;                \
            for (int64_t k = 0; k < num_keys; k++) total += own[k] = expf(own[k] - top);             \
            for (int64_t k = 0; k < num_keys; k++) own[k] /= total;                                  \
        }                                                                                            \
        memset(output, 0, sizeof(float) * all * width);                                              \
        for (int64_t k = 0; k < num_keys; k++)                                                       \
            for (int64_t h = 0; h < all; h++) {                                                      \
                const TYPE *value = values + k * row + h / repeats * width;                          \
                float weight = scores[h * num_keys + k], *own = output + h * width;                  \
                for (int64_t d = 0; d < width; d++) own[d] += weight * LOAD(value[d]);               \
            }                                                                                        \
    }
DEFINE(attend_single, float, SAME)
DEFINE(attend_half, uint16_t, widened)

static void attend_row(const Work *w, int64_t n, int64_t width, float *scores) {
    int64_t row = w->heads * width, at = w->places[n] * row, token = w->tokens[n] * row * w->repeats;
    const float *query = w->queries + token;
    float *output = w->output + token;
    if (w->is_half)
        attend_half(query, (const uint16_t *)w->keys + at, (const uint16_t *)w->values + at, scores, output,
                    w->counts[n], w->heads, w->repeats, width, w->scale, w->bias, w->bias_length);
    else
        attend_single(query, (const float *)w->keys + at, (const float *)w->values + at, scores, output,
                      w->counts[n], w->heads, w->repeats, width, w->scale, w->bias, w->bias_length);
}

void attend(const Work *w) {
    int64_t longest = 1;
    for (int64_t n = 0; n < w->num_rows; n++)
        if (w->counts[n] > longest) longest = w->counts[n];
#pragma omp parallel num_threads(w->num_threads) if (w->num_threads > 1)
    {
        float *scores = malloc(sizeof(float) * w->heads * w->repeats * longest);
        if (!scores) abort();
#pragma omp for schedule(dynamic)
        for (int64_t n = 0; n < w->num_rows; n++) {
            /* Constants let the compiler lay out the inner loops. */
            if (w->width == 64) attend_row(w, n, 64, scores);
            else if (w->width == 128) attend_row(w, n, 128, scores);
            else attend_row(w, n, w->width, scores);
        }
        free(scores);
    }
}
