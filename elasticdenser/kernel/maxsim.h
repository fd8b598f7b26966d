/* Late interaction: the highest cosine of each token of a query to one of each passage (MaxSim).

   Vectors of passages' tokens are stored as whole numbers with a scale, which a cosine does not need. Sums of products of
   whole numbers are exact in float32 while they stay below 2^24, so they do not depend on the path or the order. */

/* Converts a row of whole numbers, and returns its length. */
static float converted(const int8_t *codes, int64_t dim, float *row) {
    F squares = f_set(0);
    int64_t i = 0;
    for (; i + 16 <= dim; i += 16) {
        const F x = f_from_bytes(codes + i);
        squares = f_fma(x, x, squares);
        f_store(row + i, x);
    }
    float sum = f_reduce_add(squares);
    for (; i < dim; i++) {
        row[i] = codes[i];
        sum += row[i] * row[i];
    }
    return sqrtf(sum < 1 ? 1 : sum);
}

/* query: (dim, n_columns), a column for each of its tokens, n_columns a multiple of 16; bounds: the first row of each
   passage and the one behind its last; scratch: (MAXSIM_TOKENS * dim); highest: (n_passages, n_columns). */
static void maxsim(const int8_t *rows, int64_t row_bytes, int64_t dim, const int64_t *bounds, int64_t n_passages,
                   const float *query, int64_t n_columns, float *scratch, float *highest) {
    for (int64_t p = 0; p < n_passages; p++) {
        float *const out = highest + p * n_columns;
        for (int64_t column = 0; column < n_columns; column += 16)
            f_store(out + column, f_set(-(float)INFINITY));
        for (int64_t first = bounds[2 * p]; first < bounds[2 * p + 1]; first += MAXSIM_TOKENS) {
            const int64_t n = lesser(MAXSIM_TOKENS, bounds[2 * p + 1] - first);
            float norms[MAXSIM_TOKENS];
            for (int64_t k = 0; k < MAXSIM_TOKENS; k++) /* in place of missing tokens, the last one again */
                norms[k] = converted(rows + (first + lesser(k, n - 1)) * row_bytes, dim, scratch + k * dim);
            for (int64_t column = 0; column < n_columns; column += 16) {
                F sums[MAXSIM_TOKENS];
                for (int k = 0; k < MAXSIM_TOKENS; k++)
                    sums[k] = f_set(0);
                for (int64_t i = 0; i < dim; i++) {
                    const F x = f_load(query + i * n_columns + column);
                    for (int k = 0; k < MAXSIM_TOKENS; k++)
                        sums[k] = f_fma(f_set(scratch[k * dim + i]), x, sums[k]);
                }
                F top = f_load(out + column);
                for (int k = 0; k < MAXSIM_TOKENS; k++)
                    top = f_max(top, f_div(sums[k], f_set(norms[k])));
                f_store(out + column, top);
            }
        }
    }
}
