// The top that the matcher is Verilated with: faam_match, its token's fields as ports of their own.
//
// It adds nothing: no register, no gate.
module faam_match_bench
  import faam_engine_pkg::*;
#(
    parameter int HASH_BITS = 13,
    parameter int WAYS = 4,
    parameter int LAZY = 1
) (
    input  logic        clk,
    input  logic        rst,

    input  logic        start_valid,
    output logic        start_ready,
    input  logic [20:0] start_len,
    input  logic [15:0] start_hist,
    input  logic [2:0]  start_ways,
    input  logic        start_lazy,
    input  logic        start_scrub,

    input  logic        in_valid,
    output logic        in_ready,
    input  logic [7:0]  in_byte,

    output logic        tok_valid,
    input  logic        tok_ready,
    output logic [1:0]  tok_kind,
    output logic [7:0]  tok_literal,
    output logic [8:0]  tok_length,
    output logic [14:0] tok_distance
);
  token_t tok;

  assign tok_kind = tok.kind;
  assign tok_literal = tok.literal;
  assign tok_length = tok.length;
  assign tok_distance = tok.distance;

  faam_match #(
      .HASH_BITS(HASH_BITS),
      .WAYS(WAYS),
      .LAZY(LAZY != 0)
  ) matcher (
      .clk,
      .rst,
      .start_valid,
      .start_ready,
      .start_len,
      .start_hist,
      .start_ways,
      .start_lazy,
      .start_scrub,
      .in_valid,
      .in_ready,
      .in_byte,
      .tok_valid,
      .tok_ready,
      .tok
  );
endmodule
