/* Forward pass, compiled once for each path, with the vector instructions of the file that includes this one.

   Every row of a product is computed by the same operations in the same order, whatever its position, so that a text's
   vector does not depend on the other texts, to the bit. */
#include "products.h"
#include "attention.h"

/* Memory of all intermediate results; a pitch is the distance between two rows, in numbers. */
typedef struct {
    float *hidden, *qkv, *context, *mixed, *neurons, *pooled, *vectors;
    int64_t hidden_pitch, qkv_pitch, context_pitch, neurons_pitch, pooled_pitch, vectors_pitch;
    float *keys, *scores;
    Rows rows;
} Scratch;

/* y = (x - mean) / deviation * weight + bias; the padding of x, weights and biases is zero, and stays so. */
static void normalize_row(float *x, const float *norm, int64_t n, int64_t padded, float eps) {
    F total = f_set(0), squares = f_set(0);
    for (int64_t i = 0; i < padded; i += 16)
        total = f_add(total, f_load(x + i));
    float mean = f_reduce_add(total) / (float)n;
    for (int64_t i = 0; i < padded; i += 16) {
        F centred = f_sub(f_load(x + i), f_set(mean));
        squares = f_fma(centred, centred, squares);
    }
    float variance = (f_reduce_add(squares) - (float)(padded - n) * mean * mean) / (float)n;
    F factor = f_set(1.0f / sqrtf(greater_of(variance, 0.0f) + eps));
    for (int64_t i = 0; i < padded; i += 16) {
        F standard = f_mul(f_sub(f_load(x + i), f_set(mean)), factor);
        f_store(x + i, f_fma(standard, f_load(norm + i), f_load(norm + padded + i)));
    }
}

static void embed(const Model *m, const Scratch *s, const int32_t *ids, int64_t length, float *hidden) {
    for (int64_t t = 0; t < length; t++, hidden += s->hidden_pitch) {
        const int64_t row = ids[t] * s->hidden_pitch;
        for (int64_t i = 0; i < s->hidden_pitch; i += 16) {
            F token = m->tokens_are_half ? f_from_half((const uint16_t *)m->tokens + row + i)
                                         : f_load((const float *)m->tokens + row + i);
            f_store(hidden + i, f_add(token, f_load(m->positions + t * s->hidden_pitch + i)));
        }
        normalize_row(hidden, m->norm, m->hidden, s->hidden_pitch, (float)m->eps);
    }
}

/* hidden = norm(hidden + inputs x weights + bias), for a block of rows. */
static void add_product(const Model *m, const Scratch *s, const Product *p, const float *inputs, int64_t pitch,
                        const float *norm, float *hidden, int64_t n_rows) {
    apply(p, inputs, pitch, n_rows, s->mixed, s->hidden_pitch, NO_ACTIVATION, s->rows);
    for (int64_t r = 0; r < n_rows; r++, hidden += s->hidden_pitch) {
        for (int64_t i = 0; i < s->hidden_pitch; i += 16)
            f_store(hidden + i, f_add(f_load(hidden + i), f_load(s->mixed + r * s->hidden_pitch + i)));
        normalize_row(hidden, norm, m->hidden, s->hidden_pitch, (float)m->eps);
    }
}

static void run_layer(const Model *m, const Layer *layer, const Scratch *s, const int64_t *starts, int64_t n_texts) {
    const int64_t first = starts[0], n_tokens = starts[n_texts] - first;
    for (int64_t at = 0; at < n_tokens; at += BLOCK)
        apply(&layer->qkv, s->hidden + at * s->hidden_pitch, s->hidden_pitch, lesser(BLOCK, n_tokens - at),
              s->qkv + at * s->qkv_pitch, s->qkv_pitch, NO_ACTIVATION, s->rows);
    for (int64_t text = 0; text < n_texts; text++) {
        const int64_t at = starts[text] - first;
        attend(m, layer->distance_bias, s->qkv + at * s->qkv_pitch, s->qkv_pitch, starts[text + 1] - starts[text],
               s->context + at * s->context_pitch, s->context_pitch, s->keys, s->scores);
    }
    for (int64_t at = 0; at < n_tokens; at += BLOCK) {
        const int64_t n_rows = lesser(BLOCK, n_tokens - at);
        float *hidden = s->hidden + at * s->hidden_pitch;
        add_product(m, s, &layer->out, s->context + at * s->context_pitch, s->context_pitch, layer->attention_norm,
                    hidden, n_rows);
        apply(&layer->up, hidden, s->hidden_pitch, n_rows, s->neurons, s->neurons_pitch, (int)m->activation, s->rows);
        add_product(m, s, &layer->down, s->neurons, s->neurons_pitch, layer->output_norm, hidden, n_rows);
    }
}

/* The mean of the rows. */
static void mean_of_rows(const float *rows, int64_t pitch, int64_t n_rows, float *pooled) {
    F share = f_set(1.0f / (float)n_rows);
    for (int64_t i = 0; i < pitch; i += 16) {
        F total = f_load(rows + i);
        for (int64_t r = 1; r < n_rows; r++)
            total = f_add(total, f_load(rows + r * pitch + i));
        f_store(pooled + i, f_mul(total, share));
    }
}

/* Level 0: the mean of the token vectors. */
static void mean_of_tokens(const Model *m, const int32_t *ids, int64_t length, float *mean) {
    const int64_t pitch = padded_to(m->dim, 16);
    for (int64_t i = 0; i < pitch; i += 16) {
        F total = f_set(0);
        for (int64_t t = 0; t < length; t++)
            total = f_fma(f_from_bytes(m->token_table + ids[t] * pitch + i), f_set(m->token_table_scale[ids[t]]), total);
        f_store(mean + i, f_mul(total, f_set(1.0f / (float)length)));
    }
}

static void write_vector(const float *from, int64_t n, int options, float *to) {
    F squares = f_set(0);
    for (int64_t i = 0; i < n; i += 16) {
        F x = load_upto(from + i, n - i);
        squares = f_fma(x, x, squares);
    }
    float length = options & NORMALIZE ? greater_of(sqrtf(f_reduce_add(squares)), 1e-12f) : 1.0f;
    for (int64_t i = 0; i < n; i++)
        to[i] = from[i] / length;
}

/* Vectors of at most BLOCK rows: behind the exit, if there is one. */
static void write_vectors(const Model *m, const float *rows, int64_t pitch, int64_t n_rows, int options,
                          const Scratch *s, float *out) {
    if (m->exit.n_outputs) {
        apply(&m->exit, rows, pitch, n_rows, s->vectors, s->vectors_pitch, NO_ACTIVATION, s->rows);
        rows = s->vectors, pitch = s->vectors_pitch;
    }
    for (int64_t row = 0; row < n_rows; row++)
        write_vector(rows + row * pitch, m->dim, options, out + row * m->dim);
}

static void forward_group(const Model *m, const int32_t *ids, const int64_t *starts, int64_t n_texts, int options,
                         const Scratch *s, float *out, float *states) {
    if (m->n_layers) {
        for (int64_t text = 0; text < n_texts; text++)
            embed(m, s, ids + starts[text], starts[text + 1] - starts[text],
                  s->hidden + (starts[text] - starts[0]) * s->hidden_pitch);
        for (int64_t number = 0; number < m->n_layers; number++)
            run_layer(m, m->layers + number, s, starts, n_texts);
    }
    if (states)
        for (int64_t token = 0; token < starts[n_texts] - starts[0]; token++)
            memcpy(states + token * m->hidden, s->hidden + token * s->hidden_pitch, (size_t)m->hidden * sizeof(float));
    for (int64_t text = 0; text < n_texts; text++) {
        const int64_t length = starts[text + 1] - starts[text];
        float *pooled = s->pooled + text * s->pooled_pitch;
        if (m->n_layers)
            mean_of_rows(s->hidden + (starts[text] - starts[0]) * s->hidden_pitch, s->hidden_pitch,
                         options & POOL_CLS ? 1 : length, pooled); /* the mean of one row: the first */
        if (m->token_table)
            mean_of_tokens(m, ids + starts[text], length, pooled + (m->n_layers ? m->hidden : 0));
    }
    write_vectors(m, s->pooled, s->pooled_pitch, n_texts, options, s, out);
}

static int64_t max_qkv_outputs(const Model *m) {
    int64_t n_outputs = 0;
    for (int64_t number = 0; number < m->n_layers; number++)
        n_outputs = greater(n_outputs, m->layers[number].qkv.n_outputs);
    return n_outputs;
}

static int64_t max_neurons(const Model *m) {
    int64_t n_outputs = 0;
    for (int64_t number = 0; number < m->n_layers; number++)
        n_outputs = greater(n_outputs, m->layers[number].up.n_outputs);
    return n_outputs;
}

/* Divides the scratch memory that starts at the address `at`, for groups of at most n_tokens; returns its end. */
static uintptr_t lay_out(const Model *m, int64_t n_tokens, uintptr_t at, Scratch *s) {
    /* A head is read and written in vectors of 16 numbers, past its end: rows have space for that. */
    s->hidden_pitch = padded_to(m->hidden, 16);
    s->qkv_pitch = padded_to(max_qkv_outputs(m), 16) + 16;
    s->context_pitch = padded_to(m->n_heads * m->head_dim, 16) + 16;
    s->neurons_pitch = padded_to(max_neurons(m), 16);
    s->pooled_pitch = padded_to(m->hidden + m->dim, 16) + 16;
    s->vectors_pitch = padded_to(m->dim, 16);
    s->hidden = take_floats(&at, n_tokens * s->hidden_pitch);
    s->qkv = take_floats(&at, n_tokens * s->qkv_pitch);
    s->context = take_floats(&at, n_tokens * s->context_pitch);
    s->mixed = take_floats(&at, BLOCK * s->hidden_pitch);
    s->neurons = take_floats(&at, BLOCK * s->neurons_pitch);
    s->pooled = take_floats(&at, BLOCK * s->pooled_pitch);
    s->vectors = take_floats(&at, BLOCK * s->vectors_pitch);
    s->keys = take_floats(&at, m->head_dim * padded_to(n_tokens, 16));
    s->scores = take_floats(&at, ATTEND_ROWS * padded_to(n_tokens, 16));
    s->rows = lay_out_rows(greater(s->pooled_pitch, greater(s->neurons_pitch, s->context_pitch)), &at);
    return at;
}

/* Texts of at most BLOCK tokens in all go through the layers together, so that intermediate results stay in the
   second-level cache; a longer text goes alone. */
static int64_t group_end(const int64_t *starts, int64_t first, int64_t n_texts) {
    int64_t end = first + 1;
    while (end < n_texts && starts[end + 1] - starts[first] <= BLOCK)
        end++;
    return end;
}

static int64_t longest_group(const int64_t *starts, int64_t n_texts) {
    int64_t longest = 0;
    for (int64_t text = 0; text < n_texts; text++)
        longest = greater(longest, starts[text + 1] - starts[text]);
    return greater(longest, BLOCK);
}

static int64_t scratch_size(const Model *m, const int64_t *starts, int64_t n_texts) {
    Scratch s;
    return (int64_t)lay_out(m, longest_group(starts, n_texts), 0, &s);
}

static void forward(const Model *m, const int32_t *ids, const int64_t *starts, int64_t n_texts, int options,
                    char *scratch, float *out, float *states) {
    Scratch s;
    lay_out(m, longest_group(starts, n_texts), (uintptr_t)scratch, &s);
    for (int64_t first = 0, end; first < n_texts; first = end) {
        end = group_end(starts, first, n_texts);
        forward_group(m, ids, starts + first, end - first, options, &s, out + first * m->dim,
                      states ? states + starts[first] * m->hidden : NULL);
    }
}
