// A mover that reads: a span of memory at any byte address becomes a stream of 1 to 8 bytes a beat.
//
// Reads are of whole aligned 64-bit words, in bursts that end where the address is a multiple of 128 bytes. A burst is asked
// for only when its words have room in the buffer, so that an answer never waits. The first beat and the last may be short.
// Invariants: no word without a byte of the span is asked for; after a fault or `stop` nothing more is asked for, and what
// was asked for is taken and dropped; `busy` is low only with no answer outstanding. A wait ends when memory answers, and
// memory alone decides when that is.
// It does not know what the bytes are for.
module faam_farm_reader (
    input  logic        clk,
    input  logic        rst,
    input  logic        start,       // only while not busy; also clears `fault`
    input  logic [63:0] start_addr,
    input  logic [20:0] start_len,   // bytes, 1 to 2^20
    input  logic        stop,        // drop everything; a level, until not busy, which also clears `fault`
    output logic        busy,
    output logic        fault,       // an answer was an error, or the span leaves the address space
    output logic [63:0] fault_addr,
    // the stream
    output logic        out_valid,
    input  logic        out_ready,
    output logic [63:0] out_data,
    output logic [3:0]  out_bytes,
    // requests, and answers, which come in order and are always taken
    output logic        ar_valid,
    input  logic        ar_ready,
    input  logic        ar_denied,   // with ar_ready: not asked, and there will be no answer
    output logic [63:0] ar_addr,
    output logic [7:0]  ar_len,
    input  logic        r_valid,
    input  logic [63:0] r_data,
    input  logic        r_bad
);
    localparam int WORDS = faam_farm_pkg::MOVER_WORDS;

    logic [60:0] next_word;    // of the next burst
    logic        leaves;       // it would begin behind the last address
    logic [17:0] words_left;   // not yet asked for
    logic [4:0]  burst;        // words of the next burst
    logic        known;        // `burst` is
    logic [5:0]  free;         // words of the buffer that are neither filled nor asked for
    logic [5:0]  outstanding;  // words asked for and not yet answered
    logic [60:0] answer_word;  // of the next answer
    logic        first_answer;
    logic [20:0] bytes_left;   // of the stream
    logic        first_beat;
    logic [2:0]  low;          // where the span begins in its first word

    logic        held_valid;
    logic        held_ready;
    logic [63:0] held_data;
    logic        held_in_ready;
    logic [5:0]  held_level;
    logic        stops;    // `stop`, through a register
    logic        dropping;
    logic        granted;
    logic        taken;
    assign granted  = ar_valid && ar_ready && !ar_denied;
    assign taken    = held_valid && held_ready;
    assign dropping = stops || fault;

    always_ff @(posedge clk) stops <= stop && !rst;

    logic [21:0] span_end;
    assign span_end = {1'b0, start_len} + {19'd0, start_addr[2:0]} + 22'd7;

    logic [4:0] to_line;
    logic [5:0] granted_words;
    logic [61:0] after_burst;
    assign to_line       = 5'd16 - {1'b0, next_word[3:0]};
    assign granted_words = granted ? {1'b0, burst} : 6'd0;
    assign after_burst   = {1'b0, next_word} + {57'd0, burst};

    assign ar_addr    = {next_word, 3'd0};
    assign ar_len     = {3'd0, burst} - 8'd1;
    assign fault_addr = {answer_word, first_answer ? low : 3'd0};

    always_ff @(posedge clk) begin
        if (rst) begin
            ar_valid    <= 1'b0;
            words_left  <= '0;
            bytes_left  <= '0;
            outstanding <= '0;
            free        <= 6'(WORDS);
            fault       <= 1'b0;
        end else begin
            outstanding <= outstanding + granted_words - 6'(r_valid);
            free        <= free - granted_words + 6'(taken) + 6'(r_valid && (dropping || r_bad));
            burst       <= (words_left[17:4] == 0 && {1'b0, words_left[3:0]} < to_line) ? words_left[4:0] : to_line;
            known       <= 1'b1;
            if (!ar_valid && known && words_left != 0 && !leaves && free[5:4] != 0) ar_valid <= 1'b1;
            if (words_left != 0 && leaves) fault <= 1'b1;
            if (ar_valid && ar_ready) begin
                ar_valid <= 1'b0;
                known    <= 1'b0;
                if (ar_denied) begin
                    fault <= 1'b1;
                end else begin
                    next_word  <= after_burst[60:0];
                    leaves     <= after_burst[61];
                    words_left <= words_left - {13'd0, burst};
                end
            end
            if (r_valid && !dropping) begin
                // The address of a word that failed stands.
                if (r_bad) begin
                    fault <= 1'b1;
                end else begin
                    answer_word  <= answer_word + 1'b1;
                    first_answer <= 1'b0;
                end
            end
            if (taken) begin
                first_beat <= 1'b0;
                bytes_left <= bytes_left - {17'd0, out_bytes};
            end
            if (dropping) begin
                words_left <= '0;
                bytes_left <= '0;
                ar_valid   <= 1'b0;
                // A buffer that is emptied at once gives its words back.
                if (outstanding == 0 && !ar_valid) free <= 6'(WORDS);
                if (stops && !busy) fault <= 1'b0;
            end
            if (start) begin
                next_word    <= start_addr[63:3];
                answer_word  <= start_addr[63:3];
                low          <= start_addr[2:0];
                words_left   <= span_end[20:3];
                bytes_left   <= start_len;
                first_answer <= 1'b1;
                first_beat   <= 1'b1;
                leaves       <= 1'b0;
                known        <= 1'b0;
                fault        <= 1'b0;
            end
        end
    end

    faam_fifo #(
        .W    (64),
        .DEPTH(WORDS)
    ) store (
        .clk      (clk),
        .rst      (rst || dropping),
        .in_valid (r_valid && !r_bad && !dropping),
        .in_ready (held_in_ready),
        .in_data  (r_data),
        .out_valid(held_valid),
        .out_ready(held_ready),
        .out_data (held_data),
        .level    (held_level)
    );

    logic [2:0]  skip;
    logic [3:0]  most;
    logic [63:0] by_one;
    logic [63:0] by_two;
    assign skip       = first_beat ? low : 3'd0;
    assign most       = 4'd8 - {1'b0, skip};
    assign by_one     = skip[0] ? {8'd0, held_data[63:8]} : held_data;
    assign by_two     = skip[1] ? {16'd0, by_one[63:16]} : by_one;
    assign out_data   = skip[2] ? {32'd0, by_two[63:32]} : by_two;
    assign out_valid  = held_valid && !dropping;
    assign held_ready = out_ready && !dropping;
    assign out_bytes  = (bytes_left[20:4] == 0 && bytes_left[3:0] < most) ? bytes_left[3:0] : most;
    assign busy       = ar_valid || words_left != 0 || outstanding != 0 || bytes_left != 0 || (dropping && held_valid);

    logic unused;
    assign unused = &{1'b0, held_in_ready, held_level, span_end[21], span_end[2:0]};
endmodule
