/* Prints the bits of what one path of the kernel computes for pseudo-random models, so that paths of different
   processors can be compared: a line with a name, then one line for each number. PATH_UNDER_TEST: a Path of model.h. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "model.h"

enum { N_POSITIONS = 100, VOCABULARY = 50, N_COLUMNS = 64 };
static const int64_t LENGTHS[] = {1, 2, 3, 5, 9, 16, 17, 24, 26, 41, 64, 65, N_POSITIONS};
enum { N_TEXTS = sizeof LENGTHS / sizeof *LENGTHS };

typedef struct {
    const char *name;
    int kind, activation;
    int64_t n_layers, hidden, n_heads, head_dim, n_neurons, dim, n_columns;
    int has_exit, has_token_table, has_biases, tokens_are_half, is_smooth;
} Shape;

/* Xorshift (Marsaglia 2003). No expression and no initializer draws twice: compilers differ in what they draw first. */
static uint32_t random_bits(void) {
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static int64_t random_below(int64_t n) { return (int64_t)(random_bits() >> 8) % n; }
/* From -1 to 1, in steps that are exact. */
static float random_float(void) { return (float)((int32_t)(random_bits() >> 8) - (1 << 23)) / (float)(1 << 23); }
/* Of any magnitude up to .25, subnormal numbers too. */
static uint16_t random_half(void) {
    const int64_t exponent = random_below(13);
    return (uint16_t)((random_bits() & 0x83ff) | exponent << 10);
}

/* Memory that starts on a cache line, is read past its end, and is never freed. */
static void *zeros(int64_t n_bytes) {
    char *bytes = calloc((size_t)n_bytes + 256, 1);
    if (!bytes)
        exit(1);
    return bytes + (64 - (uintptr_t)bytes % 64);
}

/* Rows of n numbers around a centre, padded with zeros. */
static float *random_rows(int64_t n_rows, int64_t n, int64_t pitch, float centre, float spread) {
    float *rows = zeros(n_rows * pitch * (int64_t)sizeof *rows);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < n; i++)
            rows[r * pitch + i] = centre + spread * random_float();
    return rows;
}

static uint16_t *random_halves(int64_t n_rows, int64_t n, int64_t pitch) {
    uint16_t *rows = zeros(n_rows * pitch * (int64_t)sizeof *rows);
    for (int64_t r = 0; r < n_rows; r++)
        for (int64_t i = 0; i < n; i++)
            rows[r * pitch + i] = random_half();
    return rows;
}

static int8_t random_int8(void) { return (int8_t)(random_below(255) - 127); }

/* int8 weights with all that belongs to them. More inputs are packed than are used. */
static void set_int8_weights(Product *p, int is_smooth) {
    const int64_t padded = padded_to(p->n_outputs, N_COLUMNS), n_used = padded_to(p->n_inputs, 4);
    int8_t *weights = zeros(padded * p->n_packed);
    int32_t *sums = zeros(padded * (int64_t)sizeof *sums);
    float *offset = zeros(padded * (int64_t)sizeof *offset);
    const float scale = 0.02f / sqrtf((float)p->n_inputs);
    p->scale = random_rows(1, p->n_outputs, padded, scale, scale / 2);
    for (int64_t o = 0; o < p->n_outputs; o++) {
        int32_t sum = 0;
        for (int64_t i = 0; i < p->n_packed; i++) {
            const int8_t weight = random_int8();
            const int64_t step = o / p->n_columns * p->n_packed / 4 + i / 4;
            weights[(step * p->n_columns + o % p->n_columns) * 4 + i % 4] = weight;
            sum += i < p->n_inputs ? weight : 0;
            sums[o] += i < n_used ? weight : 0;
        }
        offset[o] = p->scale[o] * (float)sum;
    }
    p->weights = weights, p->sums = sums, p->offset = offset;
    p->smooth = is_smooth ? random_rows(1, p->n_inputs, padded_to(p->n_inputs, 16), 1, 0.9f) : NULL;
}

static void set_float_weights(Product *p) {
    const int64_t padded = padded_to(p->n_outputs, N_COLUMNS);
    const float spread = 2 / sqrtf((float)p->n_inputs);
    void *weights = zeros(padded * p->n_packed * (int64_t)sizeof(float));
    for (int64_t o = 0; o < p->n_outputs; o++)
        for (int64_t i = 0; i < p->n_packed; i++) {
            const int64_t at = (o / p->n_columns * p->n_packed + i) * p->n_columns + o % p->n_columns;
            if (p->kind == HALF)
                ((uint16_t *)weights)[at] = random_half();
            else
                ((float *)weights)[at] = spread * random_float();
        }
    p->weights = weights;
}

static Product random_product(int kind, int64_t n_inputs, int64_t n_outputs, int64_t n_columns, int is_smooth) {
    Product p = {.n_inputs = n_inputs, .n_outputs = n_outputs, .n_columns = n_columns, .kind = kind};
    p.n_packed = padded_to(n_inputs, 4) + 8;
    p.bias = random_rows(1, n_outputs, padded_to(n_outputs, N_COLUMNS), 0, 0.2f);
    if (kind == INT8)
        set_int8_weights(&p, is_smooth);
    else
        set_float_weights(&p);
    return p;
}

/* [weight or bias][hidden] */
static float *random_norm(int64_t hidden) {
    const int64_t pitch = padded_to(hidden, 16);
    float *norm = random_rows(2, hidden, pitch, 0, 0.1f);
    for (int64_t i = 0; i < hidden; i++)
        norm[i] += 1;
    return norm;
}

static Layer random_layer(const Shape *s) {
    const int64_t joined = s->n_heads * s->head_dim;
    Layer layer;
    layer.qkv = random_product(s->kind, s->hidden, 3 * joined, s->n_columns, s->is_smooth);
    layer.out = random_product(s->kind, joined, s->hidden, s->n_columns, 0);
    layer.up = random_product(s->kind, s->hidden, s->n_neurons, s->n_columns, 0);
    layer.down = random_product(s->kind, s->n_neurons, s->hidden, s->n_columns, s->is_smooth);
    layer.attention_norm = random_norm(s->hidden);
    layer.output_norm = random_norm(s->hidden);
    layer.distance_bias =
        s->has_biases ? random_rows(s->n_heads, 2 * N_POSITIONS - 1, bias_pitch(N_POSITIONS), 0, 2) : NULL;
    return layer;
}

static Model random_model(const Shape *s) {
    const int64_t pitch = padded_to(s->hidden, 16), dim_pitch = padded_to(s->dim, 16);
    Layer *layers = zeros(s->n_layers * (int64_t)sizeof *layers);
    Model m = {
        .n_layers = s->n_layers, .vocabulary = VOCABULARY, .n_positions = N_POSITIONS, .hidden = s->hidden,
        .dim = s->dim, .n_heads = s->n_heads, .head_dim = s->head_dim, .tokens_are_half = s->tokens_are_half,
        .activation = s->activation, .eps = 1e-12, .layers = layers,
    };
    for (int64_t number = 0; number < s->n_layers; number++)
        layers[number] = random_layer(s);
    m.tokens = s->tokens_are_half ? (void *)random_halves(VOCABULARY, s->hidden, pitch)
                                  : (void *)random_rows(VOCABULARY, s->hidden, pitch, 0, 1);
    m.positions = random_rows(N_POSITIONS, s->hidden, pitch, 0, 0.3f);
    m.norm = random_norm(s->hidden);
    if (s->has_token_table) {
        int8_t *table = zeros(VOCABULARY * dim_pitch);
        for (int64_t i = 0; i < VOCABULARY * dim_pitch; i++)
            table[i] = i % dim_pitch < s->dim ? random_int8() : 0;
        m.token_table = table;
        m.token_table_scale = random_rows(1, VOCABULARY, VOCABULARY, 0.01f, 0.005f);
    }
    if (s->has_exit)
        m.exit = random_product(HALF, s->hidden + (s->has_token_table ? s->dim : 0), s->dim, s->n_columns, 0);
    return m;
}

static void print_bits(const char *name, const char *part, const float *numbers, int64_t n) {
    printf("%s %s\n", name, part);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, numbers + i, sizeof bits);
        printf("%08" PRIx32 "\n", bits);
    }
}

static void print_vectors(const Shape *s, const Model *m, const char *part, int options, int has_states) {
    int64_t starts[N_TEXTS + 1] = {0};
    for (int64_t text = 0; text < N_TEXTS; text++)
        starts[text + 1] = starts[text] + LENGTHS[text];
    int32_t *ids = zeros(starts[N_TEXTS] * (int64_t)sizeof *ids);
    for (int64_t i = 0; i < starts[N_TEXTS]; i++)
        ids[i] = (int32_t)random_below(VOCABULARY);
    const int64_t n_states = starts[N_TEXTS] * s->hidden;
    float *out = zeros(N_TEXTS * s->dim * (int64_t)sizeof *out);
    float *states = has_states ? zeros(n_states * (int64_t)sizeof *states) : NULL;
    PATH_UNDER_TEST.forward(m, ids, starts, N_TEXTS, options, zeros(PATH_UNDER_TEST.scratch_size(m, starts, N_TEXTS)),
                            out, states);
    print_bits(s->name, part, out, N_TEXTS * s->dim);
    if (has_states)
        print_bits(s->name, "states", states, n_states);
}

static void print_model(const Shape *s) {
    const Model m = random_model(s);
    print_vectors(s, &m, "mean", NORMALIZE, 0);
    if (s->n_layers)
        print_vectors(s, &m, "cls", POOL_CLS, 1);
}

/* The first rows: zeros, zeros of both signs, one number, and a row with a NaN where it becomes a code. */
static void print_product(int kind, int64_t n_inputs, int64_t n_outputs, int64_t n_columns, int64_t n_rows) {
    const Product p = random_product(kind, n_inputs, n_outputs, n_columns, n_rows > 13);
    const int64_t n = n_rows * padded_to(n_outputs, 16);
    float *rows = random_rows(n_rows, n_inputs, n_inputs, 0.5f, 2), *out = zeros(n * (int64_t)sizeof *out);
    for (int64_t i = 0; i < n_inputs && n_rows > 3; i++) {
        rows[i] = 0;
        rows[n_inputs + i] = i % 3 ? -0.0f : 0;
        rows[2 * n_inputs + i] = -3;
    }
    if (n_rows > 3 && kind == INT8)
        rows[3 * n_inputs + n_inputs / 2] = (float)NAN;
    PATH_UNDER_TEST.multiply(&p, rows, n_rows, zeros(BLOCK * (padded_to(n_inputs, 64) + 16)), out);
    char name[64];
    snprintf(name, sizeof name, "product of kind %d, %d x %d,", kind, (int)n_inputs, (int)n_outputs);
    print_bits(name, n_columns > 16 ? "wide" : "narrow", out, n);
}

/* Every third vector is the same, and every seventh candidate absent. */
static void print_rescoring(int64_t dim) {
    enum { N = 50, K = 12 };
    float *vectors = random_rows(N, dim, dim, 0, 1), *query = random_rows(1, dim, dim, 0, 1);
    int64_t candidates[N], positions[K];
    float all_scores[N], scores[K], best[K];
    Margin margin;
    for (int64_t i = 0; i < N; i++) {
        candidates[i] = dim > 64 && i % 7 == 0 ? -1 : i;
        if (i % 3 == 0)
            memcpy(vectors + i * dim, vectors, (size_t)dim * sizeof *vectors);
    }
    PATH_UNDER_TEST.rescore(vectors, dim, query, candidates, N, K, all_scores, scores, positions, &margin);
    for (int64_t i = 0; i < K; i++)
        best[i] = (float)positions[i];
    const float margins[] = {margin.worst_score, margin.norm_product, (float)margin.n_tied};
    char name[32];
    snprintf(name, sizeof name, "rescoring, %d", (int)dim);
    print_bits(name, "all scores", all_scores, N);
    print_bits(name, "scores", scores, K);
    print_bits(name, "positions", best, K);
    print_bits(name, "margin", margins, 3);
}

static void print_maxsim(int64_t dim) {
    enum { N_ROWS = 23, N_COLUMNS = 32, N_PASSAGES = 4 };
    static const int64_t bounds[2 * N_PASSAGES] = {0, 1, 1, 9, 9, 9, 11, 23};
    const int64_t row_bytes = dim + 4;
    float *numbers = random_rows(N_ROWS, row_bytes, row_bytes, 0, 127), *query = random_rows(dim, N_COLUMNS, N_COLUMNS, 0, 127);
    int8_t *rows = (int8_t *)zeros(N_ROWS * row_bytes);
    for (int64_t i = 0; i < N_ROWS * row_bytes; i++)
        rows[i] = i / row_bytes == 3 ? 0 : (int8_t)fmaxf(-127, fminf(127, numbers[i]));
    for (int64_t i = 0; i < dim * N_COLUMNS; i++)
        query[i] = (float)(int)fmaxf(-127, fminf(127, query[i]));
    float scratch[MAXSIM_TOKENS * 400], highest[N_PASSAGES * N_COLUMNS];
    PATH_UNDER_TEST.maxsim(rows, row_bytes, dim, bounds, N_PASSAGES, query, N_COLUMNS, scratch, highest);
    char name[32];
    snprintf(name, sizeof name, "maxsim, %d", (int)dim);
    print_bits(name, "highest", highest, N_PASSAGES * N_COLUMNS);
}

int main(void) {
    static const Shape SHAPES[] = {
        {"int8", INT8, GELU, 2, 56, 3, 16, 100, 40, 16, .has_exit = 1, .tokens_are_half = 1},
        {"int8, smooth", INT8, GELU_TANH, 2, 72, 2, 20, 90, 72, 64, .has_biases = 1, .is_smooth = 1},
        {"int8, token table", INT8, RELU, 1, 64, 2, 32, 70, 33, 16, .has_exit = 1, .has_token_table = 1},
        {"float", FLOAT, GELU, 2, 50, 4, 12, 66, 50, 16, .has_biases = 1, .tokens_are_half = 1},
        {"float, wide", FLOAT, GELU_TANH, 1, 48, 1, 64, 130, 24, 64, .has_exit = 1},
        {"half", HALF, RELU, 2, 40, 2, 24, 80, 40, 64, .has_biases = 1},
        {"token table", INT8, GELU, 0, 0, 0, 0, 0, 45, 16, .has_token_table = 1},
    };
    static const int64_t SIZES[][3] = {{384, 96, 7}, {50, 33, 65}, {3, 65, 13}, {26, 7, 1}, {78, 130, 4}};
    static const int64_t DIMS[] = {24, 64, 100, 384};
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        print_model(SHAPES + i);
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++)
        for (int kind = INT8; kind <= HALF; kind++)
            for (int64_t n_columns = 16; n_columns <= N_COLUMNS; n_columns += N_COLUMNS - 16)
                print_product(kind, SIZES[i][0], SIZES[i][1], n_columns, SIZES[i][2]);
    for (size_t i = 0; i < sizeof DIMS / sizeof *DIMS; i++)
        print_rescoring(DIMS[i]), print_maxsim(DIMS[i]);
    return 0;
}
