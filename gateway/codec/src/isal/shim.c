/*
 * ISA-L's DEFLATE behind six functions of plain types.
 *
 * Owns the layout of ISA-L's structures: they are allocated and filled here, with the library's own header, so that
 * none of them has a second definition in Rust that could differ. The library itself is opened when first asked
 * for: a binary built with it runs where it is not installed, and says so by loading nothing.
 *
 * Invariant: no call reads or writes beyond the lengths given; a handle is one thread's at a time.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <isa-l/igzip_lib.h>

/* The ABI of the header above; Debian's libisal2. */
#define LIBRARY "libisal.so.2"

static struct {
    void (*deflate_stateless_init)(struct isal_zstream *);
    int (*deflate_stateless)(struct isal_zstream *);
    void (*inflate_init)(struct inflate_state *);
    int (*inflate_stateless)(struct inflate_state *);
} isal;

static int loaded;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    /* Never closed: its functions are called until the process ends. */
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (library == NULL)
        return;
    /* POSIX's way to turn the object pointer into a function's. */
    *(void **)&isal.deflate_stateless_init = dlsym(library, "isal_deflate_stateless_init");
    *(void **)&isal.deflate_stateless = dlsym(library, "isal_deflate_stateless");
    *(void **)&isal.inflate_init = dlsym(library, "isal_inflate_init");
    *(void **)&isal.inflate_stateless = dlsym(library, "isal_inflate_stateless");
    loaded = isal.deflate_stateless_init != NULL && isal.deflate_stateless != NULL &&
             isal.inflate_init != NULL && isal.inflate_stateless != NULL;
}

/* Whether the library is here. Any thread, any number of times. */
int faam_isal_available(void)
{
    return pthread_once(&once, load) == 0 && loaded;
}

struct compressor {
    struct isal_zstream stream;
    uint32_t level;
    uint32_t level_buf_size;
    uint8_t *level_buf;
};

/* A compressor of ISA-L's level 1 or 2; NULL without memory. The library must be available. */
void *faam_isal_compressor_new(int level)
{
    struct compressor *compressor = calloc(1, sizeof(*compressor));

    if (compressor == NULL)
        return NULL;
    compressor->level = (uint32_t)level;
    compressor->level_buf_size = level == 1 ? ISAL_DEF_LVL1_DEFAULT : ISAL_DEF_LVL2_DEFAULT;
    compressor->level_buf = calloc(1, compressor->level_buf_size);
    if (compressor->level_buf == NULL) {
        free(compressor);
        return NULL;
    }
    return compressor;
}

void faam_isal_compressor_free(void *handle)
{
    struct compressor *compressor = handle;

    if (compressor != NULL)
        free(compressor->level_buf);
    free(compressor);
}

/* What became of a compression, where it is none of ISA-L's own codes, which are 0 or negative. Mirrored in shim.rs. */
enum outcome {
    /* ISA-L says that all went well, and has left input over. */
    OUTCOME_INPUT_LEFT = 1,
};

/*
 * Compresses `input` on its own: `last`, one final stream; else whole blocks without BFINAL that end in a sync marker at a
 * byte boundary (ISA-L's full flush). Returns COMP_OK (0) with the length in `made`, STATELESS_OVERFLOW if it does not fit
 * `output`, and any other value of ISA-L's or of `enum outcome` if it was refused.
 */
int faam_isal_compress(void *handle, const uint8_t *input, uint32_t input_len, uint8_t *output,
                       uint32_t output_len, int last, uint32_t *made)
{
    int result;
    struct compressor *compressor = handle;
    struct isal_zstream *stream = &compressor->stream;

    isal.deflate_stateless_init(stream);
    stream->level = compressor->level;
    stream->level_buf = compressor->level_buf;
    stream->level_buf_size = compressor->level_buf_size;
    stream->gzip_flag = IGZIP_DEFLATE;
    stream->end_of_stream = last ? 1 : 0;
    stream->flush = last ? NO_FLUSH : FULL_FLUSH;
    /* ISA-L does not write to its input; its field is not const. */
    stream->next_in = (uint8_t *)input;
    stream->avail_in = input_len;
    stream->next_out = output;
    stream->avail_out = output_len;
    result = isal.deflate_stateless(stream);
    *made = result == COMP_OK ? stream->total_out : 0;
    if (result == COMP_OK && stream->avail_in != 0)
        return OUTCOME_INPUT_LEFT;
    return result;
}

/* A decompressor; NULL without memory. The library must be available. */
void *faam_isal_decompressor_new(void)
{
    return calloc(1, sizeof(struct inflate_state));
}

void faam_isal_decompressor_free(void *handle)
{
    free(handle);
}

/*
 * Decodes one raw DEFLATE stream from its first block on, all at once. Returns whether it came to the stream's end;
 * `consumed` and `produced` are set whatever is returned, and are within the lengths given.
 */
int faam_isal_decompress(void *handle, const uint8_t *input, uint32_t input_len, uint8_t *output,
                         uint32_t output_len, uint32_t *consumed, uint32_t *produced)
{
    struct inflate_state *state = handle;
    int result;

    isal.inflate_init(state);
    state->crc_flag = ISAL_DEFLATE;
    state->next_in = (uint8_t *)input;
    state->avail_in = input_len;
    state->next_out = output;
    state->avail_out = output_len;
    result = isal.inflate_stateless(state);
    *consumed = input_len - state->avail_in;
    *produced = state->total_out;
    return result == ISAL_DECOMP_OK && state->block_state == ISAL_BLOCK_FINISH;
}
