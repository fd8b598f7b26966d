#include "model.h"
#ifdef HAS_X86_PATHS
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")
#endif
#include "simd_avx512.h"
#include "forward.h"
#include "rescoring.h"
#include "maxsim.h"
const Path ed_avx512 = PATH("avx512-vnni");
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
