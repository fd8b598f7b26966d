/* Structures that the kernel computes with: structs.py mirrors them field by field, packing.py packs the weights. */
#ifndef ELASTICDENSER_MODEL_H
#define ELASTICDENSER_MODEL_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* outputs = inputs x weights + bias; a product may use only the first of the packed inputs and outputs.
   In 8 bits, inputs are rounded row by row: input = low + step * code, so that
   sum(input * weight) = scale * (step * sum(code * int8 weight) + low * sum(int8 weight)). */
typedef struct {
    const void *weights;    /* n = n_columns: [outputs / n][inputs / 4][n][4] int8, or [outputs / n][inputs][n] float or
                               half */
    const float *scale;     /* of each output's int8 weights */
    const float *offset;    /* scale * sum of the int8 weights in use */
    const float *bias;
    const float *smooth;    /* factors of the inputs before they are rounded; NULL: 1 */
    const int32_t *sums;    /* of the int8 weights in use, inputs rounded up to 4 */
    int64_t n_inputs, n_outputs;
    int64_t n_packed;       /* inputs that the layout has space for */
    int64_t n_columns;      /* outputs whose weights lie together: 16, or as many as a path computes together */
    int64_t kind;
} Product;

enum { INT8, FLOAT, HALF }; /* kinds of weights; scale, offset, smooth and sums belong to INT8 alone */

typedef struct {
    Product qkv;            /* outputs: for each head its query, already divided by sqrt(head_dim), key and value */
    Product out, up, down;
    const float *attention_norm, *output_norm; /* [weight or bias][hidden, padded] */
    const float *distance_bias; /* (n_heads, bias_pitch): attention biases of keys at the distances 1 - n_positions to
                                   n_positions - 1 from the query; NULL: none */
} Layer;

/* Rows of hidden and dim numbers are padded with zeros to whole vectors of 16. */
typedef struct {
    const void *tokens;     /* (vocabulary, hidden) */
    const float *positions; /* (n_positions, hidden) */
    const float *norm;      /* [weight or bias][hidden] */
    const Layer *layers;
    const int8_t *token_table; /* token vectors of level 0, (vocabulary, dim); NULL: there is no level 0 */
    const float *token_table_scale;
    Product exit;           /* inputs: the pooled vector and, with a token table, level 0's; n_outputs 0: no exit */
    int64_t n_layers;       /* 0: the model is level 0 alone */
    int64_t vocabulary, n_positions, hidden, dim, n_heads, head_dim;
    int64_t tokens_are_half; /* 1: float16, 0: float32 */
    int64_t activation;
    double eps;
} Model;

enum { GELU, GELU_TANH, RELU, NO_ACTIVATION };
enum { POOL_CLS = 1, NORMALIZE = 2 };

/* Numbers that tell whether other passages than the candidates may be as good as the last hit of a query. */
typedef struct {
    float worst_score;      /* score of the worst candidate; -infinity if a candidate is -1 */
    float norm_product;     /* norm of the query times norm of the last hit: rounding errors grow with it */
    int64_t n_tied;         /* candidates with the score of the last hit, including that hit */
} Margin;

typedef struct {
    const char *name;
    int64_t n_columns;      /* outputs that are computed together; weights that are packed so are read fastest */
    /* Bytes of scratch that these texts need. */
    int64_t (*scratch_size)(const Model *model, const int64_t *starts, int64_t n_texts);
    /* A text's ids lie between its start and that of the next text. scratch: scratch_size bytes, aligned to 64. out has
       a vector for each text; states has what the last layer gives each token, (n_ids, hidden), NULL: not written. */
    void (*forward)(const Model *model, const int32_t *ids, const int64_t *starts, int64_t n_texts, int options,
                    char *scratch, float *out, float *states);
    /* inputs: (n_rows, n_inputs); outputs: (n_rows, n_outputs rounded up to 16). */
    void (*multiply)(const Product *product, const float *inputs, int64_t n_rows, char *scratch, float *out);
    /* candidates: (n), -1 for none; all_scores: (n), scratch; scores, positions: (k), best first; k: 1 to n. */
    void (*rescore)(const float *vectors, int64_t dim, const float *query, const int64_t *candidates, int64_t n,
                    int64_t k, float *all_scores, float *scores, int64_t *positions, Margin *margin);
    /* See maxsim.h. scratch: (MAXSIM_TOKENS, dim). */
    void (*maxsim)(const int8_t *rows, int64_t row_bytes, int64_t dim, const int64_t *bounds, int64_t n_passages,
                   const float *query, int64_t n_columns, float *scratch, float *highest);
} Path;

#define PATH(path_name) {path_name, 16 * PANELS, scratch_size, forward, multiply_rows, rescore, maxsim}
extern const Path ed_portable;
#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_X86_PATHS
extern const Path ed_avx2, ed_avx512;
/* Older compilers do not know the instructions of these two. */
#if defined(EMULATED_INSTRUCTIONS) || (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#define HAS_NEWER_X86_PATHS
extern const Path ed_avx_vnni, ed_amx;
#endif
#endif
#if defined(__GNUC__) && defined(__AARCH64EL__)
#define HAS_NEON_PATH
extern const Path ed_neon;
#endif

enum { BLOCK = 64 };        /* rows of a product, and tokens of short texts, that are computed together */
enum { MAXSIM_TOKENS = 4 }; /* tokens of a passage that are multiplied together */

static inline int64_t padded_to(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }
/* Numbers from one head's biases to the next: they are read in vectors of 16, past the last distance. */
static inline int64_t bias_pitch(int64_t n_positions) { return padded_to(2 * n_positions + 14, 16); }
static inline int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }

#endif
