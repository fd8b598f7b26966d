/* Sum, least and greatest of the 16 numbers of an x86 vector; its file defines low_half and high_half. */
#define FOLD(name, of8, of4, of1)                                                     \
    INLINE float name(F x) {                                                          \
        __m256 eight = of8(low_half(x), high_half(x));                                \
        __m128 four = of4(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1)); \
        four = of4(four, _mm_movehl_ps(four, four));                                  \
        return _mm_cvtss_f32(of1(four, _mm_movehdup_ps(four)));                       \
    }
FOLD(f_sum, _mm256_add_ps, _mm_add_ps, _mm_add_ss)
FOLD(f_least, _mm256_min_ps, _mm_min_ps, _mm_min_ss)
FOLD(f_greatest, _mm256_max_ps, _mm_max_ps, _mm_max_ss)
#undef FOLD
