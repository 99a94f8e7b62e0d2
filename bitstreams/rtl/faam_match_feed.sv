// The way of the stream's bytes into the matcher: into the ring at once, into the window as late as the comparer needs.
//
// It owns the count of bytes still to come, the pairs that wait for the window and the pointers of both memories. Invariants, with `low` the
// lowest position that may still be compared:
// - the window is written up to `low` + 24 at most, so that a candidate 32744 bytes before any such position is whole (section 3's why);
// - the ring is never overwritten where a row is not in the window yet, and two rows before it;
// - a comparison at a position below `ready_below` finds 32 bytes there, or as many as the stream has: `complete` says that all of them
//   are there, and that every visit has left its candidates.
// It does not know what is compared, nor tokens.
module faam_match_feed (
    input  logic        clk,
    input  logic        rst,
    input  logic        start,
    input  logic [20:0] start_len,
    input  logic [15:0] start_hist,
    input  logic        run,
    input  logic        in_valid,
    output logic        in_ready,
    input  logic [7:0]  in_byte,
    input  logic        clear,
    // A row of the window, a byte of the ring and a waiting pair a cycle.
    input  logic [9:0]  clear_at,
    input  logic [16:0] low,
    // A byte for the hash and the ring; during clear, zeros for the ring alone.
    output logic        byte_valid,
    output logic        byte_write,
    output logic [8:0]  byte_at,
    output logic [7:0]  byte_data,
    // A pair for the window.
    output logic        pair_write,
    // During clear: the whole row.
    output logic        pair_all,
    output logic [9:0]  pair_row,
    output logic [3:0]  pair_at,
    output logic [15:0] pair_data,
    // The first row that is not whole in the window.
    output logic [10:0] window_row,
    output logic [16:0] ready_below,
    output logic        complete
);
    // Rows of 32 bytes that the stream may be ahead of the window, of the 16 that the ring has.
    localparam logic [4:0] ROWS_AHEAD_MAX = 5'd12;
    // Positions that the window may be written ahead of the lowest comparison, less a pair.
    localparam logic [16:0] WRITE_AHEAD_MAX = 17'd22;
    // Cycles from the last byte until its visit's candidates are written; more does no harm.
    localparam logic [3:0] VISIT_CYCLES = 4'd11;

    logic [20:0] left;
    logic        accept;
    logic        space;
    logic [16:0] next_at;

    assign accept = in_valid && in_ready;

    always_ff @(posedge clk) begin
        space    <= next_at[9:5] - window_row[4:0] <= ROWS_AHEAD_MAX;
        in_ready <= run && space && left != 21'd0 && !(accept && left == 21'd1);
        if (accept) begin
            left    <= left - 1'b1;
            next_at <= next_at + 1'b1;
        end
        if (start) begin
            left     <= start_len;
            next_at  <= '0;
            space    <= 1'b0;
            in_ready <= 1'b0;
        end
        if (rst) in_ready <= 1'b0;
    end

    // The ring.
    logic [16:0] arrived;
    logic [16:0] arrived_less_pair;
    logic [3:0]  drained;
    logic [7:0]  even;

    always_ff @(posedge clk) begin
        byte_valid <= accept;
        byte_write <= accept || clear;
        byte_at    <= clear ? clear_at[8:0] : next_at[8:0];
        byte_data  <= clear ? 8'd0 : in_byte;
        if (byte_valid) begin
            even              <= byte_data;
            arrived           <= arrived + 1'b1;
            arrived_less_pair <= arrived_less_pair + 1'b1;
        end

        if (run && left == 21'd0 && !complete) drained <= drained + 1'b1;
        if (drained == VISIT_CYCLES) complete <= 1'b1;
        ready_below <= (complete || drained == VISIT_CYCLES) ? arrived : arrived - 17'd31;

        if (start) begin
            byte_valid        <= 1'b0;
            byte_write        <= 1'b0;
            arrived           <= '0;
            arrived_less_pair <= -17'sd2;
            drained           <= '0;
            complete          <= 1'b0;
            ready_below       <= -17'sd31;
        end
        if (rst) complete <= 1'b0;
    end

    // The window. A pair waits in a RAM of its own, for the ring's ports are all the comparer's.
    logic [16:0] low_ahead;
    logic        low_first;
    logic [16:0] write_most;
    logic [16:0] write_next;
    logic        moves;
    logic        moved;
    logic [14:0] moved_pair;
    logic [10:0] pair_row_wide;
    logic [15:0] waiting;

    // Positions are compared by the sign of their difference, as everywhere in the matcher.
    assign low_first = $signed(low_ahead - arrived_less_pair) < 0;
    assign moves     = run && $signed(write_most - write_next) >= 0;
    assign pair_row  = pair_row_wide[9:0];

    faam_match_ram #(
        .W(16),
        .DEPTH(256)
    ) pairs (
        .clk,
        .write(clear || (byte_valid && byte_at[0])),
        .write_at(clear ? clear_at[7:0] : byte_at[8:1]),
        .write_data(clear ? 16'd0 : {byte_data, even}),
        .read_at(write_next[8:1]),
        .read_data(waiting)
    );

    always_ff @(posedge clk) begin
        low_ahead  <= low + WRITE_AHEAD_MAX;
        write_most <= low_first ? low_ahead : arrived_less_pair;

        moved      <= moves;
        moved_pair <= write_next[15:1];
        if (moves) write_next <= write_next + 17'd2;

        pair_write    <= moved || clear;
        pair_all      <= clear;
        pair_row_wide <= clear ? {1'b0, clear_at} : moved_pair[14:4];
        pair_at       <= moved_pair[3:0];
        pair_data     <= clear ? 16'd0 : waiting;
        if (pair_write && pair_at == 4'd15) window_row <= pair_row_wide + 1'b1;

        if (start) begin
            low_ahead  <= {1'b0, start_hist} + WRITE_AHEAD_MAX;
            write_most <= -17'sd2;
            write_next <= '0;
            moved      <= 1'b0;
            pair_write <= 1'b0;
            window_row <= '0;
        end
    end
endmodule
