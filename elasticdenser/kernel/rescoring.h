/* Exact scores of the candidates of a search structure, and the best of them.

   A candidate's score is computed by the same operations in the same order, whatever the other candidates. */

static float inner_product(const float *a, const float *b, int64_t n) {
    F sums[4] = {f_set(0), f_set(0), f_set(0), f_set(0)};
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int part = 0; part < 4; part++)
            sums[part] = f_fma(f_load(a + i + 16 * part), f_load(b + i + 16 * part), sums[part]);
    for (; i < n; i += 16) {
        const int64_t left = lesser(16, n - i);
        if (left == 16)
            sums[0] = f_fma(f_load(a + i), f_load(b + i), sums[0]);
        else
            sums[0] = f_fma(f_load_first(a + i, left), f_load_first(b + i, left), sums[0]);
    }
    return f_sum(f_add(f_add(sums[0], sums[1]), f_add(sums[2], sums[3])));
}

/* Rows lie anywhere in a large file: the next ones are prefetched while one is multiplied. */
static void prefetch(const float *row, int64_t n) {
#if defined(__GNUC__)
    for (int64_t i = 0; i < n; i += 16)
        __builtin_prefetch(row + i);
#else
    (void)row, (void)n;
#endif
}

static int is_worse(float score, int64_t position, float than_score, int64_t than_position) {
    return score < than_score || (score == than_score && position > than_position);
}

/* Puts a hit into a heap whose root is the worst hit, at position `at` or below. */
static void sift(float *scores, int64_t *positions, int64_t n, int64_t at, float score, int64_t position) {
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && is_worse(scores[child + 1], positions[child + 1], scores[child], positions[child]))
            child++;
        if (!is_worse(scores[child], positions[child], score, position))
            break;
        scores[at] = scores[child];
        positions[at] = positions[child];
    }
    scores[at] = score;
    positions[at] = position;
}

/* Selects the k best of n; equal ones in rising order of position. */
static void select_best(const float *all_scores, const int64_t *candidates, int64_t n, int64_t k, float *scores,
                   int64_t *positions) {
    for (int64_t i = 0; i < k; i++) {
        scores[i] = all_scores[i];
        positions[i] = candidates[i];
    }
    for (int64_t i = k / 2; i-- > 0;)
        sift(scores, positions, k, i, scores[i], positions[i]);
    for (int64_t i = k; i < n; i++)
        if (is_worse(scores[0], positions[0], all_scores[i], candidates[i]))
            sift(scores, positions, k, 0, all_scores[i], candidates[i]);
    for (int64_t last = k - 1; last > 0; last--) { /* moves the worst to the end */
        const float score = scores[last];
        const int64_t position = positions[last];
        scores[last] = scores[0];
        positions[last] = positions[0];
        sift(scores, positions, last, 0, score, position);
    }
}

static void rescore(const float *vectors, int64_t dim, const float *query, const int64_t *candidates, int64_t n,
                    int64_t k, float *all_scores, float *scores, int64_t *positions, Margin *margin) {
    enum { AHEAD = 4 };
    margin->least = (float)INFINITY;
    for (int64_t i = 0; i < lesser(AHEAD, n); i++)
        if (candidates[i] >= 0)
            prefetch(vectors + candidates[i] * dim, dim);
    for (int64_t i = 0; i < n; i++) {
        if (i + AHEAD < n && candidates[i + AHEAD] >= 0)
            prefetch(vectors + candidates[i + AHEAD] * dim, dim);
        all_scores[i] = candidates[i] < 0 ? -(float)INFINITY : inner_product(vectors + candidates[i] * dim, query, dim);
        margin->least = all_scores[i] < margin->least ? all_scores[i] : margin->least;
    }
    select_best(all_scores, candidates, n, k, scores, positions);
    margin->n_tied = 0;
    for (int64_t i = 0; i < n; i++)
        margin->n_tied += all_scores[i] == scores[k - 1];
    const float *last = positions[k - 1] < 0 ? query : vectors + positions[k - 1] * dim;
    margin->length = sqrtf(inner_product(query, query, dim)) * sqrtf(inner_product(last, last, dim));
}
