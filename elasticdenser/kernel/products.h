/* Matrix products, in 8 bits with inputs rounded row by row or in float, and activations of their outputs. */

/* Rounded inputs of a block: input = low + step * code. */
typedef struct {
    uint8_t *codes;
    float *step, *low;
    int64_t pitch;
} Rows;

static inline float greater_of(float a, float b) { return a > b ? a : b; }

INLINE F load_upto(const float *at, int64_t n) { return n >= 16 ? f_load(at) : f_load_first(at, n); }

INLINE F smoothed(const float *inputs, const float *smooth, int64_t at, int64_t n) {
    F x = load_upto(inputs + at, n - at);
    return smooth ? f_mul(x, f_load(smooth + at)) : x;
}

/* The range of a row, extended to include zero, is divided into 256 codes. It is not symmetric around zero, because
   outputs of GELU lie mostly on one side. */
static void quantize(const float *inputs, int64_t pitch, int64_t n_rows, int64_t n, const float *smooth, Rows rows) {
    for (int64_t r = 0; r < n_rows; r++, inputs += pitch) {
        F minimum = f_set(0), maximum = f_set(0);
        for (int64_t i = 0; i < n; i += 16) {
            F x = smoothed(inputs, smooth, i, n);
            minimum = f_min(minimum, x);
            maximum = f_max(maximum, x);
        }
        const float low = f_reduce_min(minimum), span = f_reduce_max(maximum) - low;
        const F inverse = f_set(span > 0 ? 255.0f / span : 0.0f);
        uint8_t *codes = rows.codes + r * rows.pitch;
        for (int64_t i = 0; i < n; i += 16)
            f_store_codes(codes + i, f_mul(f_sub(smoothed(inputs, smooth, i, n), f_set(low)), inverse));
        memset(codes + n, 0, (size_t)(padded_to(n, 16) - n));
        rows.step[r] = span / 255.0f;
        rows.low[r] = low;
    }
}

/* Number of packed weights before those of a column, which is a multiple of 16. */
static inline int64_t weights_before(const Product *p, int64_t column, int64_t inputs_per_step) {
    return column / p->n_columns * p->n_columns * p->n_packed + column % p->n_columns * inputs_per_step;
}

/* Distance between two panels of 16 columns that are computed together, in packed weights. */
static inline int64_t panel_pitch(const Product *p, int64_t inputs_per_step) {
    return p->n_columns > 16 ? 16 * inputs_per_step : 16 * p->n_packed;
}

/* Returns 16 outputs of a rounded row: scale * (step * sum + low * sum of the weights) + bias. */
INLINE F output_of(const Product *p, int64_t column, F sum, const Rows *rows, int64_t row) {
    F rest = f_fma(f_load(p->offset + column), f_set(rows->low[row]), f_load(p->bias + column));
    return f_fma(f_mul(sum, f_load(p->scale + column)), f_set(rows->step[row]), rest);
}

/* Computes n_rows x (16 * n_panels) outputs of rounded rows, starting at a column; the sums stay in registers. */
INLINE void int8_block(const int n_rows, const int n_panels, const Product *p, int64_t column, const Rows *rows,
                        int64_t row, float *out, int64_t out_pitch) {
    const int8_t *weights = (const int8_t *)p->weights + weights_before(p, column, 4);
    const uint8_t *codes = rows->codes + row * rows->pitch;
    const int64_t pitch = rows->pitch, n = p->n_inputs;
    const int64_t step = 4 * p->n_columns, panel = panel_pitch(p, 4);
    I sums[ROWS][PANELS];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_panels; c++)
            sums[r][c] = i_zero();
    for (int64_t i = 0; i < n; i += 4, weights += step, codes += 4) {
        Weights loaded[PANELS];
        for (int c = 0; c < n_panels; c++)
            loaded[c] = weights_load(weights + c * panel);
        for (int r = 0; r < n_rows; r++) {
            Codes four = codes_load(codes + r * pitch);
            for (int c = 0; c < n_panels; c++)
                sums[r][c] = i_dot(sums[r][c], four, loaded[c]);
        }
    }
    for (int c = 0; c < n_panels; c++) {
        const int64_t at = column + 16 * c;
        for (int r = 0; r < n_rows; r++)
            f_store(out + r * out_pitch + 16 * c,
                    output_of(p, at, f_from_sums(sums[r][c], p->sums + at), rows, row + r));
    }
}

/* The same for rows of floats and a matrix of floats or halves; bias: NULL for none. b_pitch and panel are the distances
   between two inputs and between two panels of 16 columns. */
INLINE void float_block(const int n_rows, const int n_panels, const int is_half, const float *a, int64_t a_pitch,
                        const void *b, int64_t b_pitch, int64_t panel, int64_t n, const float *bias, float *out,
                        int64_t out_pitch) {
    F sums[FLOAT_ROWS][PANELS];
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_panels; c++)
            sums[r][c] = bias ? f_load(bias + 16 * c) : f_set(0);
    for (int64_t i = 0; i < n; i++) {
        F loaded[PANELS];
        for (int c = 0; c < n_panels; c++)
            loaded[c] = is_half ? f_from_half((const uint16_t *)b + i * b_pitch + c * panel)
                                : f_load((const float *)b + i * b_pitch + c * panel);
        for (int r = 0; r < n_rows; r++) {
            F input = f_set(a[r * a_pitch + i]);
            for (int c = 0; c < n_panels; c++)
                sums[r][c] = f_fma(input, loaded[c], sums[r][c]);
        }
    }
    for (int r = 0; r < n_rows; r++)
        for (int c = 0; c < n_panels; c++)
            f_store(out + r * out_pitch + 16 * c, sums[r][c]);
}

/* Calls block(n_rows, n_panels, ...) with constants for both, so that the compiler unrolls its loops. */
#define FOR_PANELS(n_rows, block, ...)                                             \
    switch (n_panels) {                                                            \
    case 1: block(n_rows, 1, __VA_ARGS__); break;                                  \
    case 2: if (PANELS >= 2) block(n_rows, PANELS >= 2 ? 2 : 1, __VA_ARGS__); break; \
    case 3: if (PANELS >= 3) block(n_rows, PANELS >= 3 ? 3 : 1, __VA_ARGS__); break; \
    case 4: if (PANELS >= 4) block(n_rows, PANELS >= 4 ? 4 : 1, __VA_ARGS__); break; \
    }
#define FOR_ROWS(limit, max_rows, block, ...)                                \
    case limit:                                                              \
        if (max_rows >= limit)                                               \
            FOR_PANELS((max_rows >= limit ? limit : 1), block, __VA_ARGS__)  \
        break
#define BLOCK_OF(n_rows, max_rows, n_panels, block, ...) \
    switch (n_rows) {                                    \
        FOR_ROWS(1, max_rows, block, __VA_ARGS__);       \
        FOR_ROWS(2, max_rows, block, __VA_ARGS__);       \
        FOR_ROWS(3, max_rows, block, __VA_ARGS__);       \
        FOR_ROWS(4, max_rows, block, __VA_ARGS__);       \
        FOR_ROWS(5, max_rows, block, __VA_ARGS__);       \
        FOR_ROWS(6, max_rows, block, __VA_ARGS__);       \
    }

/* Number of rows of the next block. Blocks have about equal numbers, because a block of few rows mostly waits for the
   weights. */
static inline int next_block_rows(int64_t n_left, int64_t max_rows) {
    const int64_t n_blocks = (n_left + max_rows - 1) / max_rows;
    return (int)((n_left + n_blocks - 1) / n_blocks);
}

static void int8_columns(const Product *p, int64_t column, int n_panels, int64_t n_rows, const Rows *rows, float *out,
                          int64_t out_pitch) {
    for (int64_t row = 0, n; row < n_rows; row += n) {
        n = next_block_rows(n_rows - row, ROWS);
        BLOCK_OF(n, ROWS, n_panels, int8_block, p, column, rows, row, out + row * out_pitch, out_pitch)
    }
}

static void float_columns(int n_panels, int is_half, const float *a, int64_t a_pitch, int64_t n_rows, const void *b,
                          int64_t b_pitch, int64_t panel, int64_t n_inputs, const float *bias, float *out,
                          int64_t out_pitch) {
    for (int64_t row = 0, n; row < n_rows; row += n) {
        n = next_block_rows(n_rows - row, FLOAT_ROWS);
        const float *from = a + row * a_pitch;
        float *to = out + row * out_pitch;
        if (is_half)
            BLOCK_OF(n, FLOAT_ROWS, n_panels, float_block, 1, from, a_pitch, b, b_pitch, panel, n_inputs, bias, to,
                     out_pitch)
        else
            BLOCK_OF(n, FLOAT_ROWS, n_panels, float_block, 0, from, a_pitch, b, b_pitch, panel, n_inputs, bias, to,
                     out_pitch)
    }
}

#ifdef HAS_TILES
#include "tiles.h"
#else
enum { TILE_PANELS = PANELS };
#define fits_tiles(product) 0
#define configure_tiles(n_rows) ((void)(n_rows))
#define RELEASE() ((void)0)
#define tile_columns int8_columns
#endif

/* x * Phi(x), Phi being the normal distribution function: Phi(x) = 0.5 + x * P(2 (x / 4.5)^2 - 1), with a minimax
   polynomial P that gives x * Phi(x) within 8e-6. */
INLINE F gelu(F x) {
    static const float P[] = {-0.00156559388f, 0.00465524383f, -0.00668296404f, 0.0101405801f, -0.0181591623f,
                              0.0286239106f,   -0.0402957983f, 0.0546718575f,   -0.0771833733f, 0.156905293f};
    F inner = f_max(f_min(x, f_set(4.5f)), f_set(-4.5f));
    F t = f_fma(f_mul(inner, inner), f_set(2 / (4.5f * 4.5f)), f_set(-1));
    F sum = f_set(P[0]);
    for (int i = 1; i < 10; i++)
        sum = f_fma(sum, t, f_set(P[i]));
    return f_mul(x, f_fma(inner, sum, f_set(0.5f)));
}

/* e^x for x <= 0 as 2^whole * 2^rest; a polynomial gives 2^rest within 2e-7. */
INLINE F exponential(F x) {
    static const float P[] = {0.00134004327f, 0.00967603736f, 0.0555032715f, 0.240221068f, 0.693147182f, 1.00000012f};
    x = f_max(x, f_set(-87));
    F whole = f_round(f_mul(x, f_set(1.44269504f)));
    F rest = f_fma(x, f_set(1.44269504f), f_sub(f_set(0), whole));
    F sum = f_set(P[0]);
    for (int i = 1; i < 6; i++)
        sum = f_fma(sum, rest, f_set(P[i]));
    return f_mul(sum, f_power(whole));
}

/* x / (1 + e^-z), with z = 2 sqrt(2 / pi) (x + 0.044715 x^3); exponents are never above zero. */
INLINE F gelu_tanh(F x) {
    F z = f_mul(f_mul(f_set(1.59576912f), x), f_fma(f_mul(x, x), f_set(0.044715f), f_set(1)));
    F low = exponential(f_min(z, f_sub(f_set(0), z)));
    F share = f_div(f_min(exponential(f_min(z, f_set(0))), f_set(1)), f_add(f_set(1), low));
    return f_mul(x, share);
}

static void activate(int which, float *rows, int64_t pitch, int64_t n_rows, int64_t n) {
    for (int64_t r = 0; r < n_rows; r++, rows += pitch)
        for (int64_t i = 0; i < n; i += 16) {
            F x = f_load(rows + i);
            f_store(rows + i, which == GELU ? gelu(x) : which == GELU_TANH ? gelu_tanh(x) : f_max(x, f_set(0)));
        }
}

/* out = activation(inputs x weights + bias) for at most BLOCK rows; columns up to the next 16 are written. */
static void apply(const Product *p, const float *inputs, int64_t pitch, int64_t n_rows, float *out, int64_t out_pitch,
                  int activation, Rows rows) {
    const int is_tiled = p->kind == INT8 && fits_tiles(p), width = is_tiled ? TILE_PANELS : PANELS;
    if (p->kind == INT8)
        quantize(inputs, pitch, n_rows, p->n_inputs, p->smooth, rows);
    if (is_tiled)
        configure_tiles(n_rows);
    for (int64_t column = 0; column < p->n_outputs; column += 16 * width) {
        const int n_panels = (int)lesser(width, (p->n_outputs - column + 15) / 16);
        const int64_t first = weights_before(p, column, 1);
        if (is_tiled)
            tile_columns(p, column, n_panels, n_rows, &rows, out + column, out_pitch);
        else if (p->kind == INT8)
            int8_columns(p, column, n_panels, n_rows, &rows, out + column, out_pitch);
        else
            float_columns(n_panels, p->kind == HALF, inputs, pitch, n_rows,
                          (const char *)p->weights + first * (p->kind == HALF ? 2 : 4), p->n_columns,
                          panel_pitch(p, 1), p->n_inputs, p->bias + column, out + column, out_pitch);
        if (activation != NO_ACTIVATION)
            activate(activation, out + column, out_pitch, n_rows, 16 * n_panels);
    }
    if (is_tiled)
        RELEASE();
}

/* Addresses are numbers here, because scratch_size computes a layout without memory. */
static void *take(uintptr_t *at, int64_t n_bytes) {
    const uintptr_t taken = *at;
    *at += (uintptr_t)padded_to(n_bytes, 64);
    return (void *)taken;
}

static float *take_floats(uintptr_t *at, int64_t n) { return take(at, n * (int64_t)sizeof(float)); }

/* Takes the memory of a block of rounded rows of up to n numbers. */
static Rows lay_out_rows(int64_t n, uintptr_t *at) {
    Rows rows = {NULL, NULL, NULL, padded_to(n, 64)};
    rows.codes = take(at, BLOCK * rows.pitch);
    rows.step = take_floats(at, BLOCK);
    rows.low = take_floats(at, BLOCK);
    return rows;
}

static void multiply_rows(const Product *p, const float *inputs, int64_t n_rows, char *scratch, float *out) {
    const int64_t out_pitch = padded_to(p->n_outputs, 16);
    uintptr_t at = (uintptr_t)scratch;
    const Rows rows = lay_out_rows(p->n_inputs, &at);
    for (int64_t row = 0; row < n_rows; row += BLOCK)
        apply(p, inputs + row * p->n_inputs, p->n_inputs, lesser(BLOCK, n_rows - row), out + row * out_pitch, out_pitch,
              NO_ACTIVATION, rows);
}
