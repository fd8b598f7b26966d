/* softmax(Q K^T + B) V within one text, in float (Vaswani et al. 2017, eq. 1); Q is already divided by sqrt(head_dim),
   and B, if it is there, depends on the distance of key and query. */

enum { ATTEND_ROWS = 24 };  /* queries at a time: their scores stay in the first-level cache */

static void multiply_floats(const float *a, int64_t a_pitch, int64_t n_rows, const float *b, int64_t b_pitch,
                            int64_t n_inputs, int64_t n_outputs, float *out, int64_t out_pitch) {
    for (int64_t column = 0; column < n_outputs; column += 16 * PANELS)
        float_columns((int)lesser(PANELS, (n_outputs - column + 15) / 16), 0, a, a_pitch, n_rows, b + column, b_pitch,
                      16, n_inputs, NULL, out + column, out_pitch);
}

/* Adds the biases of one query, if there are any: they start with that of the first key. */
static void add_biases(float *scores, const float *biases, int64_t padded) {
    for (int64_t i = 0; biases && i < padded; i += 16)
        f_store(scores + i, f_add(f_load(scores + i), f_load(biases + i)));
}

/* Replaces each of n scores by e^(score - maximum), and the padding by almost 0; returns the sum. */
static float exponentials(float *scores, int64_t n, int64_t padded) {
    for (int64_t i = n; i < padded; i++)
        scores[i] = -INFINITY;
    F maximum = f_load(scores), sum = f_set(0);
    for (int64_t i = 16; i < padded; i += 16)
        maximum = f_max(maximum, f_load(scores + i));
    maximum = f_set(f_reduce_max(maximum));
    for (int64_t i = 0; i < padded; i += 16) {
        F share = exponential(f_sub(f_load(scores + i), maximum));
        f_store(scores + i, share);
        sum = f_add(sum, share);
    }
    return f_reduce_add(sum);
}

/* keys[i][j] = qkv[j][i], padded with zeros. */
static void transpose_keys(const float *qkv, int64_t pitch, int64_t length, int64_t head_dim, int64_t padded,
                           float *keys) {
    for (int64_t j = 0; j < length; j++)
        for (int64_t i = 0; i < head_dim; i++)
            keys[i * padded + j] = qkv[j * pitch + i];
    for (int64_t i = 0; i < head_dim; i++)
        for (int64_t j = length; j < padded; j++)
            keys[i * padded + j] = 0;
}

/* context = attention of one text; keys and scores are scratch. */
static void attend(const Model *m, const float *distance_bias, const float *qkv, int64_t pitch, int64_t length,
                   float *context, int64_t context_pitch, float *keys, float *scores) {
    const int64_t padded = padded_to(length, 16), n_heads = m->n_heads, head_dim = m->head_dim;
    for (int64_t head = 0; head < n_heads; head++) {
        const float *query = qkv + head * 3 * head_dim, *value = query + 2 * head_dim;
        const float *biases = distance_bias ? distance_bias + head * bias_pitch(m->n_positions) : NULL;
        transpose_keys(query + head_dim, pitch, length, head_dim, padded, keys);
        for (int64_t row = 0; row < length; row += ATTEND_ROWS) {
            const int64_t n_rows = lesser(ATTEND_ROWS, length - row);
            float *out = context + row * context_pitch + head * head_dim;
            float sums[ATTEND_ROWS];
            multiply_floats(query + row * pitch, pitch, n_rows, keys, padded, head_dim, length, scores, padded);
            for (int64_t r = 0; r < n_rows; r++) {
                add_biases(scores + r * padded, biases ? biases + m->n_positions - 1 - row - r : NULL, padded);
                sums[r] = exponentials(scores + r * padded, length, padded);
            }
            multiply_floats(scores, padded, n_rows, value, pitch, length, head_dim, out, context_pitch);
            for (int64_t r = 0; r < n_rows; r++)
                for (int64_t i = 0; i < head_dim; i += 16)
                    f_store(out + r * context_pitch + i,
                            f_mul(f_load(out + r * context_pitch + i), f_set(1.0f / sums[r])));
        }
    }
}
