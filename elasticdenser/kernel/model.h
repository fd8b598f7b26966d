/* What the kernel computes with. weights: packing.py lays them out; structures: plan.py mirrors them, field by field. */
#ifndef ELASTICDENSER_MODEL_H
#define ELASTICDENSER_MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* outputs = inputs x weights + bias. The inputs in use may be the first ones of those packed, and so may the outputs.
   In 8 bits, inputs are rounded row by row: input = low + step * code, so that
   sum(input * weight) = scale * (step * sum(code * whole weight) + low * sum(whole weight)). */
typedef struct {
    const void *weights;    /* [outputs / 64][inputs / 4][64][4] int8, or [outputs / 64][inputs][64] float or half */
    const float *scale;     /* of an output's whole weights */
    const float *offset;    /* scale * sum of the whole weights in use */
    const float *bias;
    const float *smooth;    /* what inputs are multiplied by before they are rounded; NULL: 1 */
    const int32_t *sums;    /* of the whole weights in use, inputs rounded up to 4 */
    int64_t n_inputs, n_outputs;
    int64_t n_packed;       /* inputs that the layout has room for */
    int64_t kind;
} Product;

enum { WHOLE, FLOAT, HALF }; /* kinds of weights; scale, offset, smooth and sums are of whole ones alone */

typedef struct {
    Product qkv;            /* outputs: for each head its query, already divided by sqrt(head_dim), key and value */
    Product out, up, down;
    const float *attention_norm, *output_norm; /* [weight or bias][hidden, padded] */
} Layer;

/* Rows of hidden and dim numbers are padded with zeros to whole vectors of 16. */
typedef struct {
    const void *tokens;     /* (vocabulary, hidden) */
    const float *positions; /* (n_positions, hidden) */
    const float *norm;      /* [weight or bias][hidden] */
    const Layer *layers;
    const int8_t *table;    /* (vocabulary, dim): level 0; NULL: none */
    const float *table_scale;
    Product exit;           /* inputs: the pooled vector and, where there is a table, level 0's; no outputs: none */
    int64_t n_layers;       /* 0: level 0 alone */
    int64_t vocabulary, n_positions, hidden, dim, n_heads, head_dim;
    int64_t tokens_are_half; /* float16, else float32 */
    int64_t activation;
    double eps;
} Model;

enum { GELU, GELU_TANH, RELU, NO_ACTIVATION };
enum { POOL_CLS = 1, NORMALIZE = 2 };

/* How far the candidates of a query reach beyond its hits. */
typedef struct {
    float least;            /* score of the worst candidate; -infinity if there were fewer */
    float length;           /* of the query times that of the last hit: what errors of rounding grow with */
    int64_t n_tied;         /* candidates that score as the last hit does, itself among them */
} Margin;

typedef struct {
    const char *name;
    /* Bytes of scratch for such texts. */
    int64_t (*scratch_size)(const Model *model, const int64_t *starts, int64_t n_texts);
    /* The texts' ids lie between their starts. scratch: aligned to 64 bytes, of scratch_size. */
    void (*encode)(const Model *model, const int32_t *ids, const int64_t *starts, int64_t n_texts, int options,
                   char *scratch, float *out);
    /* inputs: (n_rows, n_inputs); outputs: (n_rows, n_outputs rounded up to 16). For tests. */
    void (*multiply)(const Product *product, const float *inputs, int64_t n_rows, char *scratch, float *out);
    /* candidates: (n), -1 for none; all: (n), for scores; scores and positions: (k), best first; k from 1 to n. */
    void (*rescore)(const float *vectors, int64_t dim, const float *query, const int64_t *candidates, int64_t n,
                    int64_t k, float *all, float *scores, int64_t *positions, Margin *margin);
} Path;

#define PATH(path_name) {path_name, scratch_size, encode, multiply_rows, rescore}
extern const Path ed_portable;
#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_X86_PATHS
extern const Path ed_avx2, ed_avx512;
#endif

enum { BLOCK = 64 };        /* rows that go through products together, and tokens of texts that do */

static inline int64_t padded_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
static inline int64_t greater(int64_t one, int64_t other) { return one > other ? one : other; }
static inline int64_t lesser(int64_t one, int64_t other) { return one < other ? one : other; }

#endif
