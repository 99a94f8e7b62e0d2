// The matcher: a stream of bytes in, the tokens of its parse out (bitstreams/doc/algorithm.md, sections 2, 3, 4 and 11).
//
// It owns a job from start to TOKEN_END and the epoch that tells jobs apart. Invariants: the tokens are a function of the job alone, not of
// the stalls on either side nor of earlier jobs; a byte a cycle with streams that flow. Table, window, ring and candidates are
// cleared after reset, before a job with `start_scrub` and when the epochs have run out; in_ready is low meanwhile.
// It does not know codes, bits, checksums or memory.
//
// A byte goes into the ring and through the hash into the table (faam_match_feed, _hash, _table), which leaves the candidates of its
// position with the comparer. Each position of the source is compared once with 31 bytes of every candidate (_issue, _compare, _way): that
// settles every length below 31, hence all that step 3 of the parse has to look at twice. Only for a longer match does the
// parse (_parse) ask for further pieces, and since such a match is put out at once, the positions inside it make up for the wait.
// The one exception: a match of exactly 31 bytes that a longer one at the next position replaces is waited for twice. It costs a dozen
// cycles a time; a stream contrived of nothing else takes 1.14 cycles a byte, no class of the corpus shows it.
module faam_match #(
    parameter int HASH_BITS = 13,
    parameter int WAYS = 4,
    parameter bit LAZY = 1
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
    output faam_engine_pkg::token_t tok
);
    localparam int WAY_BITS = (WAYS > 1) ? $clog2(WAYS) : 1;
    // The window has 1024 rows, the table may have fewer.
    localparam int CLEAR_BITS = (HASH_BITS > 10) ? HASH_BITS : 10;
    localparam logic [7:0] EPOCH_LAST = 8'hFF;

    typedef enum logic [1:0] {
        CLEARS,
        WAITS,
        RUNS
    } state_t;
    state_t state;

    logic [CLEAR_BITS-1:0] clear_at;
    logic                  job;
    logic [7:0]            epoch;
    logic [20:0]           job_len;
    logic [15:0]           job_hist;
    logic [2:0]            job_ways;
    logic                  job_lazy;

    logic clear;
    logic start;
    logic run;
    logic done;

    assign clear       = state == CLEARS;
    assign start_ready = state == WAITS;

    always_ff @(posedge clk) begin
        start <= 1'b0;
        run   <= state == RUNS && !start && !done;
        unique case (state)
            CLEARS: begin
                clear_at <= clear_at + 1'b1;
                epoch    <= 8'd0;
                if (&clear_at) begin
                    state <= job ? RUNS : WAITS;
                    start <= job;
                    epoch <= {7'd0, job};
                end
            end
            WAITS: begin
                if (start_valid) begin
                    job      <= 1'b1;
                    job_len  <= start_len;
                    job_hist <= start_hist;
                    job_ways <= start_ways;
                    job_lazy <= LAZY && start_lazy;
                    if (start_scrub) state <= CLEARS;
                    else begin
                        state <= RUNS;
                        start <= 1'b1;
                        epoch <= epoch + 1'b1;
                    end
                end
            end
            default: begin
                if (done) begin
                    job   <= 1'b0;
                    state <= (epoch == EPOCH_LAST) ? CLEARS : WAITS;
                end
            end
        endcase
        if (rst) begin
            state    <= CLEARS;
            clear_at <= '0;
            job      <= 1'b0;
            job_hist <= '0;
            run      <= 1'b0;
            // Every part is as before an empty job, whatever was under way.
            start    <= 1'b1;
        end
    end

    logic        byte_valid;
    logic        byte_write;
    logic [8:0]  byte_at;
    logic [7:0]  byte_data;
    logic        pair_write;
    logic        pair_all;
    logic [9:0]  pair_row;
    logic [3:0]  pair_at;
    logic [15:0] pair_data;
    logic [10:0] window_row;
    logic [16:0] ready_below;
    logic        complete;
    logic [16:0] low;

    faam_match_feed feed (
        .clk,
        .rst,
        .start,
        .start_len(job_len),
        .start_hist(job_hist),
        .run,
        .in_valid,
        .in_ready,
        .in_byte,
        .clear,
        .clear_at(clear_at[9:0]),
        .low,
        .byte_valid,
        .byte_write,
        .byte_at,
        .byte_data,
        .pair_write,
        .pair_all,
        .pair_row,
        .pair_at,
        .pair_data,
        .window_row,
        .ready_below,
        .complete
    );

    logic                 visit;
    logic [HASH_BITS-1:0] visit_set;
    logic [15:0]          visit_at;
    logic                 visit_far;

    faam_match_hash #(
        .HASH_BITS(HASH_BITS)
    ) hash (
        .clk,
        .start,
        .byte_valid,
        .byte_data,
        .visit,
        .visit_set,
        .visit_at,
        .visit_far
    );

    logic               candidates_valid;
    logic [8:0]         candidates_at;
    logic [WAYS-1:0]    candidates_hold;
    logic [WAYS*16-1:0] candidates_from;

    faam_match_table #(
        .HASH_BITS(HASH_BITS),
        .WAYS(WAYS)
    ) sets (
        .clk,
        .start,
        .epoch,
        .ways(job_ways),
        .clear,
        .clear_at(clear_at[HASH_BITS-1:0]),
        .visit,
        .visit_set,
        .visit_at,
        .visit_far,
        .candidates_valid,
        .candidates_at,
        .candidates_hold,
        .candidates_from
    );

    logic [16:0]         reads_at;
    logic                jump;
    logic [16:0]         jump_at;
    logic                long_start;
    logic [16:0]         long_at;
    logic [WAYS-1:0]     long_ways;
    logic                long_end;
    logic                compare;
    logic                compare_long;
    logic                compare_turn;
    logic [10:0]         compare_at;
    logic [8:0]          compare_match;
    logic [7:0]          compare_behind;

    faam_match_issue issue (
        .clk,
        .rst,
        .start,
        .start_hist(job_hist),
        .ready_below,
        .reads_at,
        .jump,
        .jump_at,
        .long_start,
        .long_at,
        .long_end,
        .compare,
        .compare_long,
        .compare_turn,
        .compare_at,
        .compare_match,
        .compare_behind
    );

    logic                result;
    logic                result_long;
    logic                result_turn;
    logic [9:0]          result_at;
    logic                result_more;
    logic [WAYS-1:0]     result_ways;
    logic [4:0]          result_length;
    logic [WAY_BITS-1:0] result_way;
    logic [7:0]          result_byte;
    logic [4:0]          source_at;
    logic [WAY_BITS-1:0] source_way;
    logic [14:0]         source_from;

    faam_match_compare #(
        .WAYS(WAYS),
        .WAY_BITS(WAY_BITS)
    ) comparer (
        .clk,
        .rst,
        .start,
        .clear,
        .clear_at(clear_at[8:0]),
        .complete,
        .stream_end(job_len[10:0]),
        .candidates_valid,
        .candidates_at,
        .candidates_hold,
        .candidates_from,
        .byte_write,
        .byte_at,
        .byte_data,
        .pair_write,
        .pair_all,
        .pair_row,
        .pair_at,
        .pair_data,
        .window_row,
        .compare,
        .compare_long,
        .compare_turn,
        .compare_at,
        .compare_match,
        .compare_behind,
        .long_start,
        .long_ways,
        .result,
        .result_long,
        .result_turn,
        .result_at,
        .result_more,
        .result_ways,
        .result_length,
        .result_way,
        .result_byte,
        .source_at,
        .source_way,
        .source_from
    );

    faam_match_parse #(
        .WAYS(WAYS),
        .WAY_BITS(WAY_BITS)
    ) parse (
        .clk,
        .rst,
        .start,
        .start_hist(job_hist),
        .lazy(job_lazy),
        .run,
        .complete,
        .stream_end(job_len[16:0]),
        .result,
        .result_long,
        .result_turn,
        .result_at,
        .result_more,
        .result_ways,
        .result_length,
        .result_way,
        .result_byte,
        .reads_at,
        .jump,
        .jump_at,
        .long_start,
        .long_at,
        .long_ways,
        .long_end,
        .low,
        .source_at,
        .source_way,
        .source_from,
        .done,
        .tok_valid,
        .tok_ready,
        .tok
    );
endmodule
