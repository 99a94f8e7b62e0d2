// The engine: one job at a time, from its job_t to its report_t, as bitstreams/doc/algorithm.md says.
//
// It owns the order of things: table, header, tokens, end, judgement, the second pass over the source where the body is stored,
// trailer. What it orders is in the modules below it. Two state machines: `state` makes the output, `feed` takes history and
// source to the matcher while `state` waits for tokens.
//
// Invariants: an operation is given only while `go` is there; nothing is begun before what was under way has left; every job begins
// with what `S_PREPARE` clears, so nothing of another is left.
// It does not know addresses, nor whether the job came within the ranges of section 1: the farm has seen to that.
module faam_engine
    import faam_engine_pkg::*;
    import faam_encode_pkg::*;
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
    input  job_t        job,
    output logic        fetch_valid,
    input  logic        fetch_ready,
    output span_t       fetch_span,
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
    output report_t     report
);
    localparam logic [20:0] TABLE_BYTES = 21'd1024;
    localparam logic [8:0]  TABLE_PLACES = 9'd320;
    localparam logic [31:0] HEADER_BITS_MAX = 32'd5600;
    localparam logic [31:0] HISTOGRAM_BYTES = 32'd1280;
    localparam logic [31:0] CYCLES_PER_JOB = 32'd64;
    localparam logic [14:0] END_OF_BLOCK = 15'd256;
    localparam logic [16:0] STORED_BLOCK_BYTES_MAX = 17'd65535;
    // Cycles in S_JUDGE and S_PREPARE until the judge's answers are there.
    localparam logic [3:0] JUDGE_CYCLES = 4'd6;
    localparam logic [3:0] PREPARE_CYCLES = 4'd2;

    typedef enum logic [4:0] {
        S_IDLE,
        S_PREPARE,
        S_TABLE,          // asks for the table block
        S_LENGTHS,        // its 320 code lengths
        S_HEADER_BITS,    // its four bytes of header_bits
        S_CHECK,          // whether it is a code
        S_BEGIN,          // an attempt at the output
        S_FRAME,          // bytes before the body
        S_BLOCK,          // BFINAL, BTYPE
        S_HEADER,         // the table's header bits
        S_SKIP,           // what is behind them in the table block
        S_TOKENS,
        S_SYNC,           // an empty stored block, if more follows
        S_ALIGN,
        S_MARK,
        S_SETTLE,         // until the length is known
        S_JUDGE,
        S_STORED_HEAD,
        S_STORED_DATA,
        S_TRAILER,
        S_FLUSH,
        S_COUNT_SETTLE,
        S_COUNT_DRAIN,
        S_DRAIN,
        S_REPORT
    } state_t;

    typedef enum logic [2:0] {
        F_IDLE,
        F_START,
        F_HISTORY,
        F_HISTORY_BYTES,
        F_SOURCE,
        F_SOURCE_BYTES
    } feed_t;

    state_t state;
    state_t state_next;
    // What is asked in the middle of a handshake is decoded a cycle ahead.
    logic   in_tokens;
    logic   in_skip;
    logic   in_lengths;
    logic   in_stored_data;
    logic   in_header_bytes;
    feed_t  feed;
    feed_t  feed_next;
    logic   feeding;
    logic   feeds_source;
    job_t   now;
    ended_t ended;
    logic [2:0] ended_rule;
    logic second;            // the attempt that stores the source
    logic [3:0] step;        // within a state
    logic [8:0] places;
    logic [31:0] header_bits;
    logic header_too_long;
    logic [12:0] header_left;
    logic [20:0] stored_left;
    logic [16:0] block_left;
    logic [63:0] trailer;
    logic [31:0] total;      // bytes of output, as judged

    // The bytes of spans.
    logic        ask;
    span_t       ask_span;
    logic [20:0] ask_bytes;
    logic        fetch_idle;
    logic        byte_valid;
    logic        byte_ready;
    logic [7:0]  byte_data;
    logic        byte_taken;

    faam_engine_fetch fetch (
        .clk,
        .rst,
        .ask,
        .ask_span,
        .ask_bytes,
        .idle(fetch_idle),
        .fetch_valid,
        .fetch_ready,
        .fetch_span,
        .in_valid,
        .in_ready,
        .in_data,
        .in_bytes,
        .byte_valid,
        .byte_ready,
        .byte_data,
        .skip(in_skip)
    );
    assign byte_taken = byte_valid && byte_ready;

    // The matcher and its tokens.
    logic   start_valid;
    logic   start_ready;
    logic   match_ready;
    logic   match_tok_valid;
    logic   match_tok_ready;
    token_t match_tok;
    logic   tok_valid;
    logic   tok_ready;
    token_t tok;
    assign start_valid = feed == F_START;

    faam_match #(
        .HASH_BITS(HASH_BITS),
        .WAYS(WAYS),
        .LAZY(LAZY != 0)
    ) matcher (
        .clk,
        .rst,
        .start_valid,
        .start_ready,
        .start_len(now.src_len + {5'b0, now.hist_len}),
        .start_hist(now.hist_len),
        .start_ways(now.ways),
        .start_lazy(now.lazy),
        .start_scrub(now.scrub),
        .in_valid(feeding && byte_valid),
        .in_ready(match_ready),
        .in_byte(byte_data),
        .tok_valid(match_tok_valid),
        .tok_ready(match_tok_ready),
        .tok(match_tok)
    );

    faam_skid #(
        .W($bits(token_t))
    ) tokens (
        .clk,
        .rst,
        .in_valid(match_tok_valid),
        .in_ready(match_tok_ready),
        .in_data(match_tok),
        .out_valid(tok_valid),
        .out_ready(tok_ready),
        .out_data(tok)
    );

    logic [31:0] crc32;
    logic [31:0] adler32;

    faam_checksum checksum (
        .clk,
        .clear(rst || state == S_PREPARE),
        .in_valid(feeds_source && byte_taken),
        .in_byte(byte_data),
        .crc32,
        .adler32
    );

    // The coder, and the histograms beside it.
    logic        op_valid;
    op_t         op;
    logic        clear;
    logic        load_idle;
    logic        load_ready;
    logic [2:0]  rule;
    logic        place_valid;
    logic [8:0]  place;
    logic        code_beat_valid;
    logic [63:0] code_beat_data;
    logic [3:0]  code_beat_bytes;
    logic [31:0] aligned_bytes;
    logic        missed;
    logic        code_busy;
    assign clear = state == S_PREPARE || (state == S_BEGIN && second);

    faam_encode #(
        .TABLES(TABLES)
    ) encode (
        .clk,
        .rst,
        .clear,
        .loaded(now.loaded_table && !now.count),
        .load_idle,
        .load_clear(state == S_PREPARE),
        .load_valid(state == S_LENGTHS && byte_taken),
        .load_length(byte_data),
        .load_ready,
        .rule,
        .in_valid(op_valid),
        .in_op(op),
        .place_valid,
        .place,
        .beat_valid(code_beat_valid),
        .beat_data(code_beat_data),
        .beat_bytes(code_beat_bytes),
        .aligned_bytes,
        .missed,
        .busy(code_busy)
    );

    logic        count_ready;
    logic        count_drain;
    logic        count_step;
    logic        count_drained;
    logic        count_beat_valid;
    logic [63:0] count_beat_data;
    logic        go;
    assign count_drain = state == S_COUNT_SETTLE && !op_valid && !code_busy;

    if (TABLES != 0) begin : g_count
        faam_count histograms (
            .clk,
            .rst,
            .ready(count_ready),
            .in_valid(now.count && place_valid),
            .in_place(place),
            .drain(count_drain),
            .drain_go(go),
            .drain_step(count_step),
            .drained(count_drained),
            .beat_valid(count_beat_valid),
            .beat_data(count_beat_data)
        );
    end else begin : g_no_count
        assign count_ready      = 1'b1;
        assign count_drained    = 1'b1;
        assign count_step       = 1'b0;
        assign count_beat_valid = 1'b0;
        assign count_beat_data  = '0;
        logic unused;
        assign unused = &{1'b0, place_valid, place, count_drain};
    end

    logic output_empty;

    faam_engine_output way_out (
        .clk,
        .rst,
        .begin_attempt(state == S_BEGIN),
        .begin_rewind(second),
        .cap(now.dst_cap),
        .beat_valid(now.count ? count_beat_valid : code_beat_valid),
        .beat_data(now.count ? count_beat_data : code_beat_data),
        .beat_bytes(now.count ? 4'd8 : code_beat_bytes),
        .go,
        .empty(output_empty),
        .out_valid,
        .out_ready,
        .out_data,
        .out_bytes,
        .out_rewind
    );

    logic [3:0]  frame_bytes;
    logic [3:0]  trailer_bytes;
    logic        judged_stored;
    logic [31:0] judged_total;
    logic        judged_full;

    faam_engine_judge judge (
        .clk,
        .format(now.format),
        .last(now.last),
        .src_len(now.src_len),
        .dst_cap(now.dst_cap),
        .coded_bytes(aligned_bytes),
        .header_bytes(frame_bytes),
        .trailer_bytes,
        .stored(judged_stored),
        .out_len(judged_total),
        .full(judged_full)
    );

    // Fixed bytes of the output, by `step`.
    logic [7:0] frame_byte;
    always_comb begin
        if (now.format == FORMAT_ZLIB) begin
            frame_byte = step == 4'd0 ? 8'h78 : 8'h01;
        end else begin
            case (step)
                4'd0: frame_byte = 8'h1f;
                4'd1: frame_byte = 8'h8b;
                4'd2: frame_byte = 8'h08;
                4'd9: frame_byte = 8'hff;
                default: frame_byte = 8'h00;
            endcase
        end
    end

    logic       block_is_last;   // of the stored blocks
    logic [7:0] stored_head_byte;
    assign block_is_last = stored_left <= {4'b0, STORED_BLOCK_BYTES_MAX};
    always_comb begin
        case (step)
            4'd0: stored_head_byte = {7'b0, now.last && block_is_last};
            4'd1: stored_head_byte = block_left[7:0];
            4'd2: stored_head_byte = block_left[15:8];
            4'd3: stored_head_byte = ~block_left[7:0];
            default: stored_head_byte = ~block_left[15:8];
        endcase
    end

    // The operation of this cycle, if `issue`.
    logic issue;
    op_t  op_next;
    always_comb begin
        issue         = 1'b0;
        op_next.kind  = OP_BITS;
        op_next.count = 4'd8;
        op_next.value = '0;
        case (state)
            S_FRAME: begin
                issue         = go && step != frame_bytes;
                op_next.value = {7'b0, frame_byte};
            end
            S_BLOCK: begin
                issue         = go;
                op_next.count = 4'd3;
                op_next.value = {12'b0, now.loaded_table ? 2'b10 : 2'b01, now.last};
            end
            S_HEADER: begin
                issue         = go && byte_valid && in_header_bytes;
                op_next.count = header_left >= 13'd8 ? 4'd8 : header_left[3:0];
                op_next.value = {7'b0, byte_data};
            end
            S_TOKENS: begin
                issue = go && tok_valid;
                case (tok.kind)
                    TOKEN_LITERAL: begin
                        op_next.kind  = OP_SYMBOL;
                        op_next.value = {7'b0, tok.literal};
                    end
                    TOKEN_MATCH: begin
                        op_next.kind  = step[0] ? OP_DISTANCE : OP_LENGTH;
                        op_next.value = step[0] ? tok.distance : {6'b0, tok.length};
                    end
                    default: begin
                        op_next.kind  = OP_SYMBOL;
                        op_next.value = END_OF_BLOCK;
                    end
                endcase
            end
            S_SYNC: begin
                issue         = go && !now.last;
                op_next.count = 4'd3;
            end
            S_ALIGN: begin
                issue        = go;
                op_next.kind = OP_ALIGN;
            end
            S_MARK: begin
                issue         = go && !now.last;
                op_next.value = step[1] ? 15'h00ff : 15'h0000;
            end
            S_STORED_HEAD: begin
                issue         = go;
                op_next.value = {7'b0, stored_head_byte};
            end
            S_STORED_DATA: begin
                issue         = go && byte_valid;
                op_next.value = {7'b0, byte_data};
            end
            S_TRAILER: begin
                issue         = go && step != trailer_bytes;
                op_next.value = {7'b0, trailer[7:0]};
            end
            S_FLUSH: begin
                issue        = go;
                op_next.kind = OP_FLUSH;
            end
            default: ;
        endcase
    end

    always_comb begin
        tok_ready = 1'b0;
        if (in_tokens && go) tok_ready = tok.kind != TOKEN_MATCH || step[0];

        byte_ready = in_lengths || (go && (in_header_bytes || in_stored_data)) || (feeding && match_ready);

        ask       = 1'b0;
        ask_span  = SPAN_SOURCE;
        ask_bytes = now.src_len;
        if (state == S_TABLE) begin
            ask       = 1'b1;
            ask_span  = SPAN_TABLE;
            ask_bytes = TABLE_BYTES;
        end else if (state == S_BEGIN && second) begin
            ask = now.src_len != '0;
        end else if (feed == F_HISTORY) begin
            ask       = now.hist_len != '0;
            ask_span  = SPAN_HISTORY;
            ask_bytes = {5'b0, now.hist_len};
        end else if (feed == F_SOURCE) begin
            ask = now.src_len != '0;
        end
    end

    logic feed_begins;
    assign feed_begins = (state == S_BEGIN && !second && (now.count || !now.loaded_table))
        || (state == S_SKIP && fetch_idle && ended == ENDED_OK);

    always_comb begin
        feed_next = feed;
        case (feed)
            F_IDLE: if (feed_begins) feed_next = F_START;
            F_START: if (start_ready) feed_next = F_HISTORY;
            F_HISTORY: feed_next = now.hist_len == '0 ? F_SOURCE : F_HISTORY_BYTES;
            F_HISTORY_BYTES: if (fetch_idle) feed_next = F_SOURCE;
            F_SOURCE: feed_next = now.src_len == '0 ? F_IDLE : F_SOURCE_BYTES;
            F_SOURCE_BYTES: if (fetch_idle) feed_next = F_IDLE;
            default: feed_next = F_IDLE;
        endcase
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            feed         <= F_IDLE;
            feeding      <= 1'b0;
            feeds_source <= 1'b0;
        end else begin
            feed         <= feed_next;
            feeding      <= feed_next == F_HISTORY_BYTES || feed_next == F_SOURCE_BYTES;
            feeds_source <= feed_next == F_SOURCE_BYTES;
        end
    end

    always_comb begin
        state_next = state;
        case (state)
            S_IDLE: if (job_valid && job_ready) state_next = S_PREPARE;
            S_PREPARE:
                if (step == PREPARE_CYCLES) state_next = now.loaded_table && !now.count ? S_TABLE : S_BEGIN;
            S_TABLE: state_next = S_LENGTHS;
            S_LENGTHS: if (byte_taken && places == TABLE_PLACES - 9'd1) state_next = S_HEADER_BITS;
            S_HEADER_BITS: if (byte_taken && step == 4'd3) state_next = S_CHECK;
            S_CHECK: if (load_ready && step[0]) state_next = rule != '0 || header_too_long ? S_SKIP : S_BEGIN;
            S_BEGIN: state_next = now.count ? S_TOKENS : S_FRAME;
            S_FRAME: if (step == frame_bytes) state_next = second ? S_STORED_HEAD : S_BLOCK;
            S_BLOCK: if (go) state_next = now.loaded_table ? S_HEADER : S_TOKENS;
            S_HEADER: if (!in_header_bytes) state_next = S_SKIP;
            S_SKIP: if (fetch_idle) state_next = ended == ENDED_OK ? S_TOKENS : S_DRAIN;
            S_TOKENS:
                if (issue && tok.kind == TOKEN_END) state_next = now.count ? S_COUNT_SETTLE : S_SYNC;
            S_SYNC: if (go) state_next = S_ALIGN;
            S_ALIGN: if (go) state_next = now.last ? (second ? S_TRAILER : S_SETTLE) : S_MARK;
            S_MARK: if (go && step == 4'd3) state_next = second ? S_TRAILER : S_SETTLE;
            S_SETTLE: if (!op_valid && !code_busy) state_next = S_JUDGE;
            S_JUDGE:
                if (step == JUDGE_CYCLES) begin
                    if (missed || judged_full) state_next = S_DRAIN;
                    else state_next = judged_stored ? S_BEGIN : S_TRAILER;
                end
            S_STORED_HEAD:
                if (go && step == 4'd4) state_next = block_left == '0 ? S_SYNC : S_STORED_DATA;
            S_STORED_DATA:
                if (issue && block_left == 17'd1) state_next = stored_left == 21'd1 ? S_SYNC : S_STORED_HEAD;
            S_TRAILER: if (step == trailer_bytes) state_next = S_FLUSH;
            S_FLUSH: if (go) state_next = S_DRAIN;
            S_COUNT_SETTLE: if (count_drain) state_next = S_COUNT_DRAIN;
            S_COUNT_DRAIN: if (count_drained) state_next = S_DRAIN;
            S_DRAIN: if (!op_valid && !code_busy && output_empty) state_next = S_REPORT;
            S_REPORT: if (done_ready) state_next = S_IDLE;
            default: state_next = S_IDLE;
        endcase
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            state           <= S_IDLE;
            op_valid        <= 1'b0;
            in_tokens       <= 1'b0;
            in_skip         <= 1'b0;
            in_lengths      <= 1'b0;
            in_stored_data  <= 1'b0;
            in_header_bytes <= 1'b0;
        end else begin
            state    <= state_next;
            op_valid <= issue;

            in_tokens      <= state_next == S_TOKENS;
            in_skip        <= state_next == S_SKIP;
            in_lengths     <= state_next == S_LENGTHS || state_next == S_HEADER_BITS;
            in_stored_data <= state_next == S_STORED_DATA;
            // A byte more of header bits is to come.
            if (state == S_BLOCK) in_header_bytes <= go && now.loaded_table && header_left != '0;
            else if (issue && header_left <= 13'd8) in_header_bytes <= 1'b0;
        end
    end

    // `step` counts within a state and is 0 at the beginning of each that uses it.
    always_ff @(posedge clk) begin
        op <= op_next;
        case (state)
            S_IDLE: begin
                now        <= job;
                step       <= '0;
                ended      <= ENDED_OK;
                ended_rule <= '0;
                second     <= 1'b0;
                places     <= '0;
                total      <= '0;
            end
            S_PREPARE: step <= step == PREPARE_CYCLES ? 4'd0 : step + 4'd1;
            S_LENGTHS: if (byte_taken) places <= places + 9'd1;
            S_HEADER_BITS:
                if (byte_taken) begin
                    header_bits <= {byte_data, header_bits[31:8]};
                    step        <= step == 4'd3 ? 4'd0 : step + 4'd1;
                end
            S_CHECK: begin
                step        <= 4'd1;  // by then header_too_long is there
                header_left <= header_bits[12:0];
                if (load_ready && step[0] && (rule != '0 || header_too_long)) begin
                    ended      <= ENDED_BAD_TABLE;
                    ended_rule <= rule != '0 ? rule : 3'd1;
                end
            end
            S_BEGIN: begin
                step        <= '0;
                stored_left <= now.src_len;
            end
            S_FRAME:
                if (step == frame_bytes) step <= '0;
                else if (go) step <= step + 4'd1;
            S_HEADER:
                if (issue) header_left <= header_left >= 13'd8 ? header_left - 13'd8 : 13'd0;
            S_TOKENS:
                if (issue) step <= {3'b0, tok.kind == TOKEN_MATCH && !step[0]};
            S_MARK: if (go) step <= step == 4'd3 ? 4'd0 : step + 4'd1;
            S_JUDGE: begin
                step <= step == JUDGE_CYCLES ? 4'd0 : step + 4'd1;
                if (step == JUDGE_CYCLES) begin
                    if (missed) ended <= ENDED_TABLE_MISS;
                    else if (judged_full) ended <= ENDED_OUTPUT_FULL;
                    second <= judged_stored;
                    total  <= judged_total;
                end
            end
            S_STORED_HEAD: if (go) step <= step == 4'd4 ? 4'd0 : step + 4'd1;
            S_STORED_DATA: if (issue) stored_left <= stored_left - 21'd1;
            S_TRAILER: if (issue) step <= step + 4'd1;
            S_COUNT_DRAIN:
                if (count_drained && now.dst_cap < HISTOGRAM_BYTES) ended <= ENDED_OUTPUT_FULL;
            default: ;
        endcase

        header_too_long <= header_bits > HEADER_BITS_MAX;

        if (state == S_STORED_HEAD && step == '0)
            block_left <= block_is_last ? stored_left[16:0] : STORED_BLOCK_BYTES_MAX;
        else if (state == S_STORED_DATA && issue) block_left <= block_left - 17'd1;

        if (state == S_TRAILER) begin
            if (go) trailer <= trailer >> 8;
        end else if (now.format == FORMAT_ZLIB) begin
            trailer <= {32'b0, adler32[7:0], adler32[15:8], adler32[23:16], adler32[31:24]};
        end else begin
            trailer <= {11'b0, now.src_len, crc32};
        end
    end

    assign job_ready  = state == S_IDLE && feed == F_IDLE && load_idle && count_ready;
    assign done_valid = state == S_REPORT;

    // The job's cycles are counted by its work, a step at a time (algorithm.md, section 10), so they are a function of the job alone:
    // a byte for the matcher, a code length, a byte of header bits, a byte that is stored, a count that is drained. What it
    // costs beside these, with memory that never makes it wait, is CYCLES_PER_JOB; the test bench holds the clock to both.
    logic        works;
    logic        worked;
    logic [31:0] cycles;
    always_comb begin
        case (state)
            S_LENGTHS, S_HEADER, S_STORED_DATA: works = byte_taken;
            S_COUNT_DRAIN: works = count_step;
            default: works = feeding && byte_taken;
        endcase
    end

    always_ff @(posedge clk) begin
        worked <= works;
        if (state == S_IDLE) cycles <= CYCLES_PER_JOB;
        else if (worked) cycles <= cycles + 32'd1;
    end

    // SYNC says no more than that FINAL is not there.
    logic unused;
    assign unused = now.sync;

    logic succeeded;
    assign succeeded      = ended == ENDED_OK;
    assign report.ended   = ended;
    assign report.rule    = ended_rule;
    assign report.stored  = succeeded && second;
    assign report.out_len = succeeded ? total : '0;
    assign report.in_len  = succeeded ? now.src_len : '0;
    assign report.crc32   = succeeded && !now.count ? crc32 : '0;
    assign report.adler32 = succeeded && !now.count ? adler32 : '0;
    assign report.cycles  = cycles;
endmodule
