#include "model.h"
#ifdef HAS_X86_PATHS
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#include "simd_avx2.h"
#include "forward.h"
#include "rescoring.h"
#include "maxsim.h"
const Path ed_avx2 = PATH("avx2");
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
