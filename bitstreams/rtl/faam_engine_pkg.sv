// The types that cross the engine's seams: a job, a span of memory, a token of the parse, a report.
//
// Invariant: every number here is in the range that bitstreams/doc/algorithm.md, section 1, gives; whoever fills a
// job_t (the farm) has refused the others.
//
// It deliberately does not know queues, descriptors or addresses.
package faam_engine_pkg;
  // What stands around the DEFLATE data (algorithm.md, section 8): the values of job_t.format.
  typedef enum logic [1:0] {
    FORMAT_RAW,
    FORMAT_ZLIB,
    FORMAT_GZIP
  } format_t;

  typedef struct packed {
    logic count;  // a count job: histograms, no DEFLATE data
    logic [1:0] format;
    logic last;  // FINAL
    logic sync;
    logic loaded_table;
    logic lazy;
    logic [2:0] ways;
    logic scrub;  // the tenant changed: clear everything before this job
    logic [20:0] src_len;
    logic [15:0] hist_len;
    logic [31:0] dst_cap;
  } job_t;

  typedef enum logic [1:0] {
    SPAN_TABLE,
    SPAN_HISTORY,
    SPAN_SOURCE
  } span_t;

  typedef enum logic [1:0] {
    TOKEN_LITERAL,
    TOKEN_MATCH,
    TOKEN_END
  } token_kind_t;

  typedef struct packed {
    token_kind_t kind;
    logic [7:0] literal;
    logic [8:0] length;
    logic [14:0] distance;
  } token_t;

  typedef enum logic [2:0] {
    ENDED_OK,
    ENDED_BAD_TABLE,
    ENDED_TABLE_MISS,
    ENDED_OUTPUT_FULL
  } ended_t;

  typedef struct packed {
    ended_t ended;
    logic [2:0] rule;  // of algorithm.md, section 5, with ENDED_BAD_TABLE; otherwise 0
    logic stored;
    logic [31:0] out_len;
    logic [20:0] in_len;
    logic [31:0] crc32;
    logic [31:0] adler32;
    logic [31:0] cycles;
  } report_t;
endpackage
