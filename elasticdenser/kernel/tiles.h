/* 8-bit products by the matrix units of AMX: a tile is 16 rows of 64 bytes, and one instruction multiplies 16 rows of 64
   codes by 64 weights of each of 16 columns. Packed weights already lie as it wants them: four inputs of 16 columns fill a
   row. The sums are whole numbers, so outputs equal those of the vector instructions to the bit.

   Tiles 0 to 3 hold the sums of four panels of 16 columns, 4 the codes, 5 to 7 weights. */
enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_PANELS = 4, CODES_TILE = 4 };

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t n_rows[16];
} TileConfig;

#ifdef EMULATED_INSTRUCTIONS
static __thread struct { int n_rows; int8_t bytes[TILE_ROWS][TILE_BYTES]; } emulated[8];
static void configure(const TileConfig *config) {
    for (int number = 0; number < 8; number++)
        emulated[number].n_rows = config->n_rows[number];
}
static void load_tile(int number, const void *from, int64_t pitch) {
    for (int row = 0; row < emulated[number].n_rows; row++)
        memcpy(emulated[number].bytes[row], (const char *)from + row * pitch, TILE_BYTES);
}
static void store_tile(int number, void *to, int64_t pitch) {
    for (int row = 0; row < emulated[number].n_rows; row++)
        memcpy((char *)to + row * pitch, emulated[number].bytes[row], TILE_BYTES);
}
static void dot_tiles(int sums, int codes, int weights) {
    for (int row = 0; row < emulated[sums].n_rows; row++) {
        int32_t total[16];
        memcpy(total, emulated[sums].bytes[row], TILE_BYTES);
        for (int i = 0; i < TILE_BYTES; i++) {
            const int32_t code = (uint8_t)emulated[codes].bytes[row][i];
            for (int column = 0; column < 16; column++)
                total[column] += code * emulated[weights].bytes[i / 4][4 * column + i % 4];
        }
        memcpy(emulated[sums].bytes[row], total, TILE_BYTES);
    }
}
#define CONFIGURE(config) configure(config)
#define RELEASE() ((void)0)
#define ZERO_TILE(number) memset(emulated[number].bytes, 0, sizeof emulated[number].bytes)
#define LOAD_TILE load_tile
#define STORE_TILE store_tile
#define DOT_TILES dot_tiles
#else
/* GCC takes _tile_loadconfig for a read of eight bytes, and would drop the stores of the others. */
#define CONFIGURE(config)                        \
    do {                                         \
        __asm__ volatile("" : : : "memory");     \
        _tile_loadconfig(config);                \
    } while (0)
#define RELEASE _tile_release
#define ZERO_TILE _tile_zero
#define LOAD_TILE _tile_loadd
#define STORE_TILE _tile_stored
#define DOT_TILES _tile_dpbusd
#endif

/* Rows are divided among as few tiles as hold them, about equally: the time of an instruction grows with its rows. */
static inline int rows_of_tiles(int64_t n_rows) {
    const int64_t n_tiles = (n_rows + TILE_ROWS - 1) / TILE_ROWS;
    return (int)((n_rows + n_tiles - 1) / n_tiles);
}

static inline int fits_tiles(const Product *p) { return p->n_inputs % TILE_BYTES == 0; }

/* Must be called before tile_columns, in each thread, for each number of rows. */
static void configure_tiles(int64_t n_rows) {
    TileConfig config = {1, 0, {0}, {0}, {0}};
    for (int number = 0; number < 8; number++) {
        config.bytes_per_row[number] = TILE_BYTES;
        config.n_rows[number] = (uint8_t)(number <= CODES_TILE ? rows_of_tiles(n_rows) : TILE_ROWS);
    }
    CONFIGURE(&config);
}

/* As int8_columns. The last tile reads rows beyond the last one, which lie within the block, and writes none of them. */
static void tile_columns(const Product *p, int64_t column, int n_panels, int64_t n_rows, const Rows *rows, float *out,
                         int64_t out_pitch) {
    const int8_t *weights = (const int8_t *)p->weights + weights_before(p, column, 4);
    const int64_t step = 4 * p->n_columns, panel = panel_pitch(p, 4);
    const int tile_rows = rows_of_tiles(n_rows);
    int32_t sums[TILE_PANELS][TILE_ROWS][16];
    for (int64_t row = 0; row < n_rows; row += tile_rows) {
        const uint8_t *codes = rows->codes + row * rows->pitch;
        ZERO_TILE(0);
        ZERO_TILE(1);
        ZERO_TILE(2);
        ZERO_TILE(3);
        for (int64_t i = 0; i < p->n_inputs; i += TILE_BYTES) {
            const int8_t *at = weights + i / 4 * step;
            LOAD_TILE(4, codes + i, rows->pitch);
            LOAD_TILE(5, at, step);
            DOT_TILES(0, 4, 5);
            if (n_panels > 1) {
                LOAD_TILE(6, at + panel, step);
                DOT_TILES(1, 4, 6);
            }
            if (n_panels > 2) {
                LOAD_TILE(7, at + 2 * panel, step);
                DOT_TILES(2, 4, 7);
            }
            if (n_panels > 3) {
                LOAD_TILE(5, at + 3 * panel, step);
                DOT_TILES(3, 4, 5);
            }
        }
        STORE_TILE(0, sums[0], TILE_BYTES);
        STORE_TILE(1, sums[1], TILE_BYTES);
        STORE_TILE(2, sums[2], TILE_BYTES);
        STORE_TILE(3, sums[3], TILE_BYTES);
        for (int c = 0; c < n_panels; c++)
            for (int r = 0; r < tile_rows && row + r < n_rows; r++)
                f_store(out + (row + r) * out_pitch + 16 * c,
                        output_of(p, column + 16 * c, f_from_ints(sums[c][r]), rows, row + r));
    }
}
