/* Scores of one word of a query for all passages that hold it, by BM25.

   The operations and their order are those of `Terms.scores` in Python, so that both give the same scores. */

#include <stdint.h>

typedef struct {
    const uint32_t *passages; /* in rising order */
    const uint16_t *counts;   /* how often each of them holds the word */
    int64_t n;
    const uint32_t *lengths;  /* of all passages, in words */
    int64_t n_passages;
    float weight, constant, by_length;
} Word;

/* Adds the word's scores to `sums`, and writes the passages whose sum was 0 to `found`. If `allowed` is given, other
   passages are passed over. Returns how many were written; -1 if a passage does not exist. */
static int64_t add_word(const Word *word, const uint8_t *allowed, float *sums, int64_t *found) {
    int64_t n_found = 0;
    for (int64_t i = 0; i < word->n; i++) {
        const uint32_t passage = word->passages[i];
        if (passage >= word->n_passages)
            return -1;
        if (allowed && !allowed[passage])
            continue;
        const float count = word->counts[i];
        const float norm = (float)word->lengths[passage] * word->by_length + word->constant + count;
        const float sum = sums[passage];
        found[n_found] = passage;
        n_found += sum == 0;
        sums[passage] = sum + count / norm * word->weight;
    }
    return n_found;
}
