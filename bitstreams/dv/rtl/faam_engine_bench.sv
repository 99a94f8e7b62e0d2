// The top that the engine is Verilated with: faam_engine, the fields of its structures as ports of their own, so that the
// order in which a structure packs its fields is the package's affair alone.
//
// It adds nothing: no register, no gate.
module faam_engine_bench
  import faam_engine_pkg::*;
#(
    parameter int HASH_BITS = 13,
    parameter int WAYS = 4,
    parameter int LAZY = 1,
    parameter int TABLES = 1
) (
    input  logic        clk,
    input  logic        rst,

    input  logic        job_valid,
    output logic        job_ready,
    input  logic        job_count,
    input  logic [1:0]  job_format,
    input  logic        job_last,
    input  logic        job_sync,
    input  logic        job_loaded_table,
    input  logic        job_lazy,
    input  logic [2:0]  job_ways,
    input  logic        job_scrub,
    input  logic [20:0] job_src_len,
    input  logic [15:0] job_hist_len,
    input  logic [31:0] job_dst_cap,

    output logic        fetch_valid,
    input  logic        fetch_ready,
    output logic [1:0]  fetch_span,

    input  logic        in_valid,
    output logic        in_ready,
    input  logic [63:0] in_data,
    input  logic [3:0]  in_bytes,

    output logic        out_valid,
    input  logic        out_ready,
    output logic [63:0] out_data,
    output logic [3:0]  out_bytes,
    output logic        out_rewind,

    output logic        done_valid,
    input  logic        done_ready,
    output logic [2:0]  done_ended,
    output logic [2:0]  done_rule,
    output logic        done_stored,
    output logic [31:0] done_out_len,
    output logic [20:0] done_in_len,
    output logic [31:0] done_crc32,
    output logic [31:0] done_adler32,
    output logic [31:0] done_cycles
);
  job_t job;
  span_t span;
  report_t report;

  assign job.count = job_count;
  assign job.format = job_format;
  assign job.last = job_last;
  assign job.sync = job_sync;
  assign job.loaded_table = job_loaded_table;
  assign job.lazy = job_lazy;
  assign job.ways = job_ways;
  assign job.scrub = job_scrub;
  assign job.src_len = job_src_len;
  assign job.hist_len = job_hist_len;
  assign job.dst_cap = job_dst_cap;

  assign fetch_span = span;

  assign done_ended = report.ended;
  assign done_rule = report.rule;
  assign done_stored = report.stored;
  assign done_out_len = report.out_len;
  assign done_in_len = report.in_len;
  assign done_crc32 = report.crc32;
  assign done_adler32 = report.adler32;
  assign done_cycles = report.cycles;

  faam_engine #(
      .HASH_BITS(HASH_BITS),
      .WAYS(WAYS),
      .LAZY(LAZY),
      .TABLES(TABLES)
  ) engine (
      .clk,
      .rst,
      .job_valid,
      .job_ready,
      .job,
      .fetch_valid,
      .fetch_ready,
      .fetch_span(span),
      .in_valid,
      .in_ready,
      .in_data,
      .in_bytes,
      .out_valid,
      .out_ready,
      .out_data,
      .out_bytes,
      .out_rewind,
      .done_valid,
      .done_ready,
      .report
  );
endmodule
