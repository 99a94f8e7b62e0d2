// What is compared next: each position of the source once, in order; and the rest of a match that is 31 bytes or longer.
//
// It owns the next position to be compared first and, while a long match is followed, that of the next piece of it. Invariants: a
// position is compared only when its bytes and its candidates are there; at most POSITIONS_AHEAD_MAX positions are compared
// ahead of the parse, so that its 32 slots are enough; nothing is compared first while a long match is followed.
// It does not know candidates or results.
module faam_match_issue (
    input  logic        clk,
    input  logic        rst,
    input  logic        start,
    input  logic [15:0] start_hist,
    input  logic [16:0] ready_below,
    // The parse: where it reads, where it jumps to, and the long match it wants to be followed.
    /* verilator lint_off UNUSEDSIGNAL */
    input  logic [16:0] reads_at,
    /* verilator lint_on UNUSEDSIGNAL */
    input  logic        jump,
    input  logic [16:0] jump_at,
    input  logic        long_start,
    input  logic [16:0] long_at,
    input  logic        long_end,
    // A comparison: `behind` bytes of the match at `match_at` are known to be equal.
    output logic        compare,
    output logic        compare_long,
    output logic        compare_turn,
    output logic [10:0] compare_at,
    output logic [8:0]  compare_match,
    output logic [7:0]  compare_behind
);
    localparam logic [5:0] POSITIONS_AHEAD_MAX = 6'd24;
    // Bytes a comparison looks at, and the number of the last one of a match of 258.
    localparam logic [16:0] STEP = 17'd31;
    localparam logic [7:0] BEHIND_LAST = 8'd248;

    logic [16:0] first_at;
    logic [5:0]  first_ahead;
    logic        first;

    logic        follows;
    logic        turn;
    logic        piece_left;
    logic [16:0] piece_at;
    logic [8:0]  piece_match;
    logic [7:0]  piece_behind;
    logic        piece;

    assign first_ahead = first_at[5:0] - reads_at[5:0];
    assign first       = !follows && $signed(first_at - ready_below) < 0 && first_ahead < POSITIONS_AHEAD_MAX;
    assign piece       = follows && piece_left && $signed(piece_at - ready_below) < 0;

    always_ff @(posedge clk) begin
        compare        <= first || piece;
        compare_long   <= follows;
        compare_turn   <= turn;
        compare_at     <= follows ? piece_at[10:0] : first_at[10:0];
        compare_match  <= follows ? piece_match : first_at[8:0];
        compare_behind <= follows ? piece_behind : 8'd0;

        if (jump && $signed(first_at - jump_at) < 0) first_at <= jump_at;
        else if (first) first_at <= first_at + 1'b1;

        if (piece) begin
            piece_at     <= piece_at + STEP;
            piece_behind <= piece_behind + STEP[7:0];
            piece_left   <= piece_behind != BEHIND_LAST;
        end
        if (long_end) follows <= 1'b0;
        if (long_start) begin
            follows      <= 1'b1;
            turn         <= !turn;
            piece_left   <= 1'b1;
            piece_at     <= long_at + STEP;
            piece_match  <= long_at[8:0];
            piece_behind <= STEP[7:0];
        end

        if (start) begin
            compare  <= 1'b0;
            first_at <= {1'b0, start_hist};
            follows  <= 1'b0;
            turn     <= 1'b0;
        end
        if (rst) begin
            compare <= 1'b0;
            follows <= 1'b0;
        end
    end
endmodule
