/* Module elasticdenser.kernel._kernel: checks arguments, selects a path and computes without the GIL. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "model.h"
#include "words.h"
#include <stdlib.h>
#ifdef HAS_X86_PATHS
#include <cpuid.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif
#if defined(HAS_NEON_PATH) && defined(__linux__)
#include <sys/auxv.h>
#endif

enum { MAX_PATHS = 5 };
static const Path *paths[MAX_PATHS]; /* those that this processor can run, fastest first */
static int n_paths;

#ifdef HAS_X86_PATHS
/* __builtin_cpu_supports("f16c") needs clang 19. */
static int has_f16c(void) {
    unsigned a, b, c = 0, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

#ifdef HAS_NEWER_X86_PATHS
/* Whether the paths that were never run on a processor of their own are offered too. */
static int offers_untested(void) {
    const char *wanted = getenv("ELASTICDENSER_KERNEL_PATHS");
    return wanted && !strcmp(wanted, "all");
}

#ifdef EMULATED_INSTRUCTIONS
static int has_avx_vnni(void) { return 1; }
static int has_amx(void) { return 1; }
#else
static int has_avx_vnni(void) {
    unsigned a = 0, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
}

/* Linux keeps a process from using tiles until it has asked for their state; containers and VMs may refuse. */
static int has_amx(void) {
#ifdef __linux__
    enum { AMX_TILE = 1 << 24, AMX_INT8 = 1 << 25, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    unsigned a, b, c, d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(d & AMX_TILE) || !(d & AMX_INT8))
        return 0;
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}
#endif
#endif

#ifdef HAS_NEON_PATH
static int has_dotprod(void) {
#if defined(__linux__)
    return getauxval(AT_HWCAP) >> 20 & 1; /* HWCAP_ASIMDDP, which old headers lack */
#elif defined(__APPLE__)
    return 1; /* every Mac with an ARM processor */
#else
    return 0;
#endif
}
#endif

static void find_paths(void) {
    n_paths = 0;
#ifdef HAS_X86_PATHS
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                 __builtin_cpu_supports("avx512vnni");
#ifdef HAS_NEWER_X86_PATHS
#ifdef EMULATED_INSTRUCTIONS
    const int has_vectors = avx2; /* those that stand in for AVX-512 */
#else
    const int has_vectors = avx512;
#endif
    if (has_vectors && offers_untested() && has_amx())
        paths[n_paths++] = &ed_amx;
#endif
    if (avx512)
        paths[n_paths++] = &ed_avx512;
#ifdef HAS_NEWER_X86_PATHS
    if (avx2 && offers_untested() && has_avx_vnni())
        paths[n_paths++] = &ed_avx_vnni;
#endif
    if (avx2)
        paths[n_paths++] = &ed_avx2;
#endif
#ifdef HAS_NEON_PATH
    if (has_dotprod())
        paths[n_paths++] = &ed_neon;
#endif
    paths[n_paths++] = &ed_portable;
}

static const Path *path_at(int number) {
    if (number >= 0 && number < n_paths)
        return paths[number];
    PyErr_Format(PyExc_ValueError, "got path %d, expected less than %d", number, n_paths);
    return NULL;
}

static int has_bytes(const Py_buffer *buffer, int64_t n_bytes, const char *name) {
    if (buffer->len >= n_bytes)
        return 1;
    PyErr_Format(PyExc_ValueError, "got %zd bytes of %s, expected at least %lld", buffer->len, name,
                 (long long)n_bytes);
    return 0;
}

/* Returns whether the texts can be encoded, else sets an exception. */
static int are_valid(const Model *m, const int32_t *ids, int64_t n_ids, const int64_t *starts, int64_t n_texts) {
    if (starts[0] != 0 || starts[n_texts] != n_ids) {
        PyErr_SetString(PyExc_ValueError, "the starts of the texts do not fit their token ids");
        return 0;
    }
    for (int64_t text = 0; text < n_texts; text++) {
        const int64_t length = starts[text + 1] - starts[text];
        if (length < 1 || starts[text + 1] > n_ids) {
            PyErr_Format(PyExc_ValueError, "text number %lld has no tokens, expected at least one",
                         (long long)text + 1);
            return 0;
        }
        if (m->n_layers && length > m->n_positions) {
            PyErr_Format(PyExc_ValueError, "text number %lld has %lld tokens, expected at most %lld",
                         (long long)text + 1, (long long)length, (long long)m->n_positions);
            return 0;
        }
        for (int64_t i = starts[text]; i < starts[text + 1]; i++)
            if (ids[i] < 0 || ids[i] >= m->vocabulary) {
                PyErr_Format(PyExc_ValueError, "text number %lld has the token %d, expected 0 to %lld",
                             (long long)text + 1, (int)ids[i], (long long)m->vocabulary - 1);
                return 0;
            }
    }
    return 1;
}

/* Computes the vectors and returns 0. If scratch is too small, returns the bytes that are needed. If an argument does not
   fit, sets an exception and returns -1. */
static int64_t run_forward(const Path *path, const Py_buffer *model, const Py_buffer *ids, const Py_buffer *starts,
                          int options, const Py_buffer *scratch, const Py_buffer *out, const Py_buffer *states) {
    const Model *m = (const Model *)model->buf;
    const int64_t n_texts = starts->len / (int64_t)sizeof(int64_t) - 1, n_ids = ids->len / (int64_t)sizeof(int32_t);
    if (!has_bytes(model, sizeof(Model), "model") || !has_bytes(starts, sizeof(int64_t), "starts") ||
        !has_bytes(out, n_texts * m->dim * (int64_t)sizeof(float), "out") ||
        (states->buf && !has_bytes(states, n_ids * m->hidden * (int64_t)sizeof(float), "states")) ||
        !are_valid(m, ids->buf, n_ids, starts->buf, n_texts))
        return -1;
    if (states->buf && !m->n_layers) {
        PyErr_SetString(PyExc_ValueError, "the model has no layers, and thus no states of tokens");
        return -1;
    }
    const int64_t needed = path->scratch_size(m, starts->buf, n_texts) + 64;
    if (scratch->len < needed)
        return needed;
    char *aligned = (char *)(((uintptr_t)scratch->buf + 63) / 64 * 64);
    Py_BEGIN_ALLOW_THREADS
    path->forward(m, ids->buf, starts->buf, n_texts, options, aligned, out->buf, states->buf);
    Py_END_ALLOW_THREADS
    return 0;
}

PyDoc_STRVAR(forward_doc,
"forward(path, model, ids, starts, options, scratch, out[, states]) -> bytes of scratch that are needed, or 0\n\n"
"Write the vectors of texts to out and return 0. If scratch is too small, write nothing and return the bytes needed.\n"
"Concurrent calls must not share scratch. ids: int32, the tokens of all texts; starts: int64, (n_texts + 1), the start\n"
"of each text in ids and the end of the last one; out: float32, (n_texts, dim); states: float32, (n_ids, hidden), to\n"
"which the states of the tokens after the last layer are written if it is given.");
static PyObject *kernel_forward(PyObject *self, PyObject *args) {
    (void)self;
    int number, options;
    Py_buffer model, ids, starts, scratch, out, states = {0};
    if (!PyArg_ParseTuple(args, "iy*y*y*iw*w*|w*:forward", &number, &model, &ids, &starts, &options, &scratch, &out,
                          &states))
        return NULL;
    const Path *path = path_at(number);
    const int64_t needed = path ? run_forward(path, &model, &ids, &starts, options, &scratch, &out, &states) : -1;
    PyBuffer_Release(&model);
    PyBuffer_Release(&ids);
    PyBuffer_Release(&starts);
    PyBuffer_Release(&scratch);
    PyBuffer_Release(&out);
    PyBuffer_Release(&states);
    return needed < 0 ? NULL : PyLong_FromLongLong(needed);
}

PyDoc_STRVAR(multiply_doc,
"multiply(path, product, inputs, out)\n\n"
"Compute one product. inputs: float32, (n_rows, n_inputs); out: float32, (n_rows,\n"
"n_outputs rounded up to 16).");
static PyObject *kernel_multiply(PyObject *self, PyObject *args) {
    (void)self;
    int number;
    Py_buffer product, inputs, out;
    if (!PyArg_ParseTuple(args, "iy*y*w*:multiply", &number, &product, &inputs, &out))
        return NULL;
    const Path *path = path_at(number);
    const Product *p = (const Product *)product.buf;
    char *scratch = NULL;
    if (path && has_bytes(&product, sizeof(Product), "product")) {
        const int64_t n_rows = inputs.len / (int64_t)sizeof(float) / p->n_inputs;
        if (has_bytes(&out, n_rows * padded_to(p->n_outputs, 16) * (int64_t)sizeof(float), "out")) {
            scratch = PyMem_Malloc((size_t)(BLOCK * (padded_to(p->n_inputs, 64) + 16)));
            if (scratch) {
                Py_BEGIN_ALLOW_THREADS
                path->multiply(p, inputs.buf, n_rows, scratch, out.buf);
                Py_END_ALLOW_THREADS
            } else {
                PyErr_NoMemory();
            }
        }
    }
    PyMem_Free(scratch);
    PyBuffer_Release(&product);
    PyBuffer_Release(&inputs);
    PyBuffer_Release(&out);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* Rescores the candidates, or sets an exception if an argument does not fit. */
static void run_rescore(const Path *path, const Py_buffer *vectors, int64_t dim, const Py_buffer *queries,
                        const Py_buffer *candidates, int64_t k, const Py_buffer *all_scores, const Py_buffer *scores,
                        const Py_buffer *positions, const Py_buffer *margins) {
    const int64_t n_queries = margins->len / (int64_t)sizeof(Margin);
    if (dim < 1 || !n_queries) {
        if (dim < 1)
            PyErr_Format(PyExc_ValueError, "got %lld dimensions, expected at least one", (long long)dim);
        return;
    }
    const int64_t n = candidates->len / (int64_t)sizeof(int64_t) / n_queries;
    const int64_t n_vectors = vectors->len / (int64_t)sizeof(float) / dim;
    const int64_t *const candidate_positions = candidates->buf;
    if (k < 1 || k > n) {
        PyErr_Format(PyExc_ValueError, "got k = %lld, expected 1 to %lld", (long long)k, (long long)n);
        return;
    }
    if (!has_bytes(queries, n_queries * dim * (int64_t)sizeof(float), "queries") ||
        !has_bytes(all_scores, n * (int64_t)sizeof(float), "all_scores") ||
        !has_bytes(scores, n_queries * k * (int64_t)sizeof(float), "scores") ||
        !has_bytes(positions, n_queries * k * (int64_t)sizeof(int64_t), "positions"))
        return;
    for (int64_t i = 0; i < n_queries * n; i++)
        if (candidate_positions[i] >= n_vectors) {
            PyErr_Format(PyExc_ValueError, "got position %lld, expected less than %lld",
                         (long long)candidate_positions[i], (long long)n_vectors);
            return;
        }
    Py_BEGIN_ALLOW_THREADS
    for (int64_t q = 0; q < n_queries; q++)
        path->rescore(vectors->buf, dim, (const float *)queries->buf + q * dim, candidate_positions + q * n, n, k,
                      all_scores->buf, (float *)scores->buf + q * k, (int64_t *)positions->buf + q * k,
                      (Margin *)margins->buf + q);
    Py_END_ALLOW_THREADS
}

PyDoc_STRVAR(rescore_doc,
"rescore(path, vectors, dim, queries, candidates, k, all_scores, scores, positions, margins)\n\n"
"Write the k candidates with the highest inner products, best first. vectors: float32, (n_vectors, dim); queries:\n"
"float32, (n_queries, dim); candidates: int64, (n_queries, n), -1 for none; all_scores: float32, (n), scratch; scores:\n"
"float32, and positions: int64, (n_queries, k); margins: (n_queries), each a Margin of model.h.");
static PyObject *kernel_rescore(PyObject *self, PyObject *args) {
    (void)self;
    int number;
    long long dim, k;
    Py_buffer vectors, queries, candidates, all_scores, scores, positions, margins;
    if (!PyArg_ParseTuple(args, "iy*Ly*y*Lw*w*w*w*:rescore", &number, &vectors, &dim, &queries, &candidates, &k,
                          &all_scores, &scores, &positions, &margins))
        return NULL;
    const Path *path = path_at(number);
    if (path)
        run_rescore(path, &vectors, dim, &queries, &candidates, k, &all_scores, &scores, &positions, &margins);
    PyBuffer_Release(&vectors);
    PyBuffer_Release(&queries);
    PyBuffer_Release(&candidates);
    PyBuffer_Release(&all_scores);
    PyBuffer_Release(&scores);
    PyBuffer_Release(&positions);
    PyBuffer_Release(&margins);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* Computes the highest cosines, or sets an exception if an argument does not fit. */
static void run_maxsim(const Path *path, const Py_buffer *rows, int64_t row_bytes, int64_t dim,
                       const Py_buffer *passages, const Py_buffer *query, const Py_buffer *highest) {
    const int64_t n_passages = passages->len / (2 * (int64_t)sizeof(int64_t));
    const int64_t *const bounds = passages->buf;
    if (dim < 1 || row_bytes < dim) {
        PyErr_Format(PyExc_ValueError, "got %lld numbers in rows of %lld bytes, expected 1 to as many", (long long)dim,
                     (long long)row_bytes);
        return;
    }
    const int64_t n_columns = query->len / (int64_t)sizeof(float) / dim, n_rows = rows->len / row_bytes;
    if (n_columns % 16) {
        PyErr_Format(PyExc_ValueError, "got %lld columns, expected a multiple of 16", (long long)n_columns);
        return;
    }
    if (!has_bytes(query, n_columns * dim * (int64_t)sizeof(float), "query") ||
        !has_bytes(highest, n_passages * n_columns * (int64_t)sizeof(float), "highest"))
        return;
    for (int64_t p = 0; p < n_passages; p++)
        if (bounds[2 * p] < 0 || bounds[2 * p + 1] > n_rows) {
            PyErr_Format(PyExc_ValueError, "got rows %lld to %lld, expected 0 to %lld", (long long)bounds[2 * p],
                         (long long)bounds[2 * p + 1], (long long)n_rows);
            return;
        }
    float *const scratch = PyMem_Malloc((size_t)(MAXSIM_TOKENS * dim) * sizeof(float));
    if (!scratch) {
        PyErr_NoMemory();
        return;
    }
    Py_BEGIN_ALLOW_THREADS
    path->maxsim(rows->buf, row_bytes, dim, bounds, n_passages, query->buf, n_columns, scratch, highest->buf);
    Py_END_ALLOW_THREADS
    PyMem_Free(scratch);
}

PyDoc_STRVAR(maxsim_doc,
"maxsim(path, rows, row_bytes, dim, bounds, query, highest)\n\n"
"Write the highest cosine, times the length of the query's vector, of each token of a query to one of each passage.\n"
"rows: (n_rows, row_bytes), each beginning with dim numbers, int8; bounds: int64, (n_passages, 2), the first row of\n"
"each passage and the one behind its last; query: float32, (dim, n_columns), n_columns a multiple of 16; highest:\n"
"float32, (n_passages, n_columns).");
static PyObject *kernel_maxsim(PyObject *self, PyObject *args) {
    (void)self;
    int number;
    long long row_bytes, dim;
    Py_buffer rows, bounds, query, highest;
    if (!PyArg_ParseTuple(args, "iy*LLy*y*w*:maxsim", &number, &rows, &row_bytes, &dim, &bounds, &query, &highest))
        return NULL;
    const Path *path = path_at(number);
    if (path)
        run_maxsim(path, &rows, row_bytes, dim, &bounds, &query, &highest);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&bounds);
    PyBuffer_Release(&query);
    PyBuffer_Release(&highest);
    if (PyErr_Occurred())
        return NULL;
    Py_RETURN_NONE;
}

/* Adds the scores of a word, or sets an exception if an argument does not fit. */
static int64_t run_add_word(Word word, const Py_buffer *counts, const Py_buffer *allowed, const Py_buffer *sums,
                            const Py_buffer *found) {
    if (!has_bytes(counts, word.n * (int64_t)sizeof(uint16_t), "counts") ||
        (allowed->buf && !has_bytes(allowed, word.n_passages, "allowed")) ||
        !has_bytes(sums, word.n_passages * (int64_t)sizeof(float), "sums") ||
        !has_bytes(found, word.n * (int64_t)sizeof(int64_t), "found"))
        return -1;
    int64_t n_found;
    Py_BEGIN_ALLOW_THREADS
    n_found = add_word(&word, allowed->buf, sums->buf, found->buf);
    Py_END_ALLOW_THREADS
    if (n_found < 0)
        PyErr_Format(PyExc_ValueError, "got a posting of a passage that does not exist, expected less than %lld",
                     (long long)word.n_passages);
    return n_found;
}

PyDoc_STRVAR(add_word_doc,
"add_word(passages, counts, lengths, weight, constant, by_length, allowed, sums, found) -> n_found\n\n"
"Add the BM25 scores of a word to the sums of the passages that hold it. passages: uint32, (n), in rising order;\n"
"counts: uint16, (n); lengths: uint32, (n_passages); allowed: bool, (n_passages), or None; sums: float32,\n"
"(n_passages); found: int64, (n), to which the passages are written whose sum was 0.");
static PyObject *kernel_add_word(PyObject *self, PyObject *args) {
    (void)self;
    Word word;
    Py_buffer passages, counts, lengths, allowed, sums, found;
    if (!PyArg_ParseTuple(args, "y*y*y*fffz*w*w*:add_word", &passages, &counts, &lengths, &word.weight, &word.constant,
                          &word.by_length, &allowed, &sums, &found))
        return NULL;
    word.passages = passages.buf, word.n = passages.len / (int64_t)sizeof(uint32_t), word.counts = counts.buf;
    word.lengths = lengths.buf, word.n_passages = lengths.len / (int64_t)sizeof(uint32_t);
    const int64_t n_found = run_add_word(word, &counts, &allowed, &sums, &found);
    PyBuffer_Release(&passages);
    PyBuffer_Release(&counts);
    PyBuffer_Release(&lengths);
    PyBuffer_Release(&allowed);
    PyBuffer_Release(&sums);
    PyBuffer_Release(&found);
    return n_found < 0 ? NULL : PyLong_FromLongLong(n_found);
}

PyDoc_STRVAR(paths_doc,
"paths() -> names\n\n"
"Return the names of the paths that this machine can run, fastest first; a path is selected by its position.");
static PyObject *kernel_paths(PyObject *self, PyObject *args) {
    (void)self, (void)args;
    PyObject *names = PyTuple_New(n_paths);
    for (int number = 0; names && number < n_paths; number++) {
        PyObject *name = PyUnicode_FromString(paths[number]->name);
        if (!name || PyTuple_SetItem(names, number, name) < 0) {
            Py_DECREF(names);
            return NULL;
        }
    }
    return names;
}

PyDoc_STRVAR(columns_doc,
"columns(path) -> number\n\n"
"Return how many outputs a path computes together: it is fastest with weights that are packed in blocks of so many.");
static PyObject *kernel_columns(PyObject *self, PyObject *args) {
    (void)self;
    int number;
    if (!PyArg_ParseTuple(args, "i:columns", &number))
        return NULL;
    const Path *path = path_at(number);
    return path ? PyLong_FromLongLong(path->n_columns) : NULL;
}

static PyMethodDef methods[] = {
    {"forward", kernel_forward, METH_VARARGS, forward_doc},
    {"multiply", kernel_multiply, METH_VARARGS, multiply_doc},
    {"rescore", kernel_rescore, METH_VARARGS, rescore_doc},
    {"maxsim", kernel_maxsim, METH_VARARGS, maxsim_doc},
    {"add_word", kernel_add_word, METH_VARARGS, add_word_doc},
    {"paths", kernel_paths, METH_NOARGS, paths_doc},
    {"columns", kernel_columns, METH_VARARGS, columns_doc},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernel", "Forward passes of encoders in 8 bits, and scores.", -1, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) {
    find_paths();
    return PyModule_Create(&module);
}
