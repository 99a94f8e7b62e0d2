// The comparer: every way of a position against its candidates, 31 bytes a cycle, and the best of them.
//
// It owns the candidates that wait for their position, the memories of the ways and eleven stages. Invariants: a comparison a cycle,
// never a stall; results come out in the order of the questions. The result of a first comparison is M(p) of algorithm.md,
// section 3, when no way reaches all 31 bytes with more to follow (`result_more`); of a following piece it is the best of the
// ways that have reached every piece before it.
// It does not know the parse.
module faam_match_compare #(
    parameter int WAYS = 4,
    parameter int WAY_BITS = 2
) (
    input  logic                clk,
    input  logic                rst,
    input  logic                start,
    input  logic                clear,
    input  logic [8:0]          clear_at,
    // The end of the stream, once it is known.
    input  logic                complete,
    input  logic [10:0]         stream_end,
    // The writers.
    input  logic                candidates_valid,
    input  logic [8:0]          candidates_at,
    input  logic [WAYS-1:0]     candidates_hold,
    input  logic [WAYS*16-1:0]  candidates_from,
    input  logic                byte_write,
    input  logic [8:0]          byte_at,
    input  logic [7:0]          byte_data,
    input  logic                pair_write,
    input  logic                pair_all,
    input  logic [9:0]          pair_row,
    input  logic [3:0]          pair_at,
    input  logic [15:0]         pair_data,
    input  logic [10:0]         window_row,
    // A question.
    input  logic                compare,
    input  logic                compare_long,
    input  logic                compare_turn,
    input  logic [10:0]         compare_at,
    input  logic [8:0]          compare_match,
    input  logic [7:0]          compare_behind,
    // The ways a long match begins with, and its turn: pieces of an earlier one do not count.
    input  logic                long_start,
    input  logic [WAYS-1:0]     long_ways,
    // The answer.
    output logic                result,
    output logic                result_long,
    output logic                result_turn,
    output logic [9:0]          result_at,
    output logic                result_more,
    output logic [WAYS-1:0]     result_ways,
    output logic [4:0]          result_length,
    output logic [WAY_BITS-1:0] result_way,
    output logic [7:0]          result_byte,
    // The positions of the candidates of the last 32 positions that were compared first.
    input  logic [4:0]          source_at,
    input  logic [WAY_BITS-1:0] source_way,
    output logic [14:0]         source_from
);
    localparam int STAGES = 10;
    localparam logic [4:0] MATCH_MIN = 5'd4;
    localparam logic [7:0] BEHIND_LAST = 8'd248;
    localparam logic [5:0] LAST_MAX = 6'd10;
    localparam logic [5:0] PIECE_MORE = 6'd32;

    // Stage 1 is the question itself.
    logic       valid[1:STAGES];
    logic       long[1:STAGES];
    logic       turn[1:STAGES];
    logic [9:0] at[1:STAGES];
    logic [7:0] behind[1:3];
    logic [4:0] match2;

    assign valid[1]  = compare;
    assign long[1]   = compare_long;
    assign turn[1]   = compare_turn;
    assign at[1]     = compare_at[9:0];
    assign behind[1] = compare_behind;

    always_ff @(posedge clk) begin
        for (int i = 2; i <= STAGES; i++) begin
            valid[i] <= valid[i-1] && !start && !rst;
            long[i]  <= long[i-1];
            turn[i]  <= turn[i-1];
            at[i]    <= at[i-1];
        end
        behind[2] <= behind[1];
        behind[3] <= behind[2];
        match2    <= compare_match[4:0];
    end

    // Bytes that are left at the position: 32 stands for more than a piece. Once the end is known nobody asks farther from it than the
    // ring is long, so 11 bits of a position are enough.
    logic [10:0] left_wide;
    logic        left_known;
    logic        left_last;
    logic [5:0]  left[3:9];

    always_ff @(posedge clk) begin
        left_wide  <= stream_end - compare_at;
        left_known <= complete;
        left_last  <= compare_behind == BEHIND_LAST;
        left[3]    <= (!left_known || left_wide[10:5] != 6'd0) ? PIECE_MORE : {1'b0, left_wide[4:0]};
        if (left_last && (!left_known || left_wide > {5'd0, LAST_MAX})) left[3] <= LAST_MAX;
        for (int i = 4; i <= 9; i++) left[i] <= left[i-1];
    end

    // Stages 1 to 3: the candidates.
    localparam int CANDIDATES = WAYS * 17;
    logic [CANDIDATES-1:0] candidates2;
    logic [WAYS-1:0]       hold[3:9];
    logic [WAYS*16-1:0]    from3;

    faam_match_ram #(
        .W(CANDIDATES),
        .DEPTH(512)
    ) candidates (
        .clk,
        .write(clear || candidates_valid),
        .write_at(clear ? clear_at : candidates_at),
        .write_data(clear ? '0 : {candidates_hold, candidates_from}),
        .read_at(compare_match),
        .read_data(candidates2)
    );

    always_ff @(posedge clk) begin
        {hold[3], from3} <= candidates2;
        for (int i = 4; i <= 9; i++) hold[i] <= hold[i-1];
    end

    // Where the candidates of a slot are, for the distance of a token.
    logic [4:0] match3;
    always_ff @(posedge clk) match3 <= match2;

    logic [15*WAYS-1:0] source_row;
    for (genvar way = 0; way < WAYS; way++) begin : g_source
        logic [14:0] sources[32];
        always_ff @(posedge clk) if (valid[3] && !long[3]) sources[match3] <= from3[way*16+:15];
        assign source_row[way*15+:15] = sources[source_at];
    end
    always_ff @(posedge clk) begin
        source_from <= source_row[14:0];
        for (int way = 1; way < WAYS; way++) if (source_way == WAY_BITS'(way)) source_from <= source_row[way*15+:15];
    end

    // Stages 6 to 8: the bytes at the position.
    logic [255:0] banks6;
    logic [255:0] banks7;
    logic [247:0] reference7;
    logic [247:0] reference8;
    logic [30:0]  counts8;
    logic [7:0]   byte9;
    logic [7:0]   byte10;

    faam_match_ring ring (
        .clk,
        .write(byte_write),
        .write_at(byte_at),
        .write_byte(byte_data),
        .read_row(at[6][8:5]),
        .read_row_next(at[6][8:5] + 1'b1),
        .read_pair(at[6][4:1]),
        .read_bytes(banks6)
    );
    faam_match_rotate rotate (
        .banks(banks7),
        .first(at[7][4:0]),
        .bytes(reference7)
    );

    always_ff @(posedge clk) begin
        banks7     <= banks6;
        reference8 <= reference7;
        for (int i = 0; i < 31; i++) counts8[i] <= 6'(i) < left[7];
        byte9  <= reference8[7:0];
        byte10 <= byte9;
    end

    // Stages 3 to 10: the ways.
    logic [WAYS*5-1:0] length10;
    logic              more10;
    for (genvar way = 0; way < WAYS; way++) begin : g_way
        faam_match_way compares (
            .clk,
            .byte_write,
            .byte_at,
            .byte_data,
            .pair_write,
            .pair_all,
            .pair_row,
            .pair_at,
            .pair_data,
            .window_row,
            .from(from3[way*16+:16]),
            .behind(behind[3]),
            .wanted(reference8),
            .counts(counts8),
            .holds(hold[9][way]),
            .length(length10[way*5+:5])
        );
    end
    always_ff @(posedge clk) more10 <= left[9] == PIECE_MORE;

    // Stage 10: the best way; the lowest among equal ones. A way that has dropped out of a long match comes after all others.
    logic [WAYS-1:0]     alive;
    logic [WAYS-1:0]     full;
    logic [5:0]          rank[4];
    logic [5:0]          rank_low;
    logic [5:0]          rank_high;
    logic                way_low;
    logic                way_high;
    logic                high;
    logic [4:0]          length_best;
    /* verilator lint_off UNUSEDSIGNAL */
    logic [1:0]          way_best;
    /* verilator lint_on UNUSEDSIGNAL */

    always_comb begin
        for (int way = 0; way < 4; way++) rank[way] = 6'd0;
        for (int way = 0; way < WAYS; way++) begin
            rank[way] = {!long[10] || alive[way], length10[way*5+:5]};
            full[way] = length10[way*5+:5] == 5'd31 && more10 && (!long[10] || alive[way]);
        end
        way_low   = rank[1] > rank[0];
        way_high  = rank[3] > rank[2];
        rank_low  = way_low ? rank[1] : rank[0];
        rank_high = way_high ? rank[3] : rank[2];
        high      = rank_high > rank_low;
        length_best = high ? rank_high[4:0] : rank_low[4:0];
        way_best  = {high, high ? way_high : way_low};
    end

    logic current_turn;
    always_ff @(posedge clk) begin
        if (long_start) begin
            alive        <= long_ways;
            current_turn <= !current_turn;
        end else if (valid[10] && long[10] && turn[10] == current_turn) alive <= full;
        if (start) current_turn <= 1'b0;

        result        <= valid[10] && !start && !rst;
        result_long   <= long[10];
        result_turn   <= turn[10];
        result_at     <= at[10];
        result_more   <= full != '0;
        result_ways   <= full;
        result_length <= (!long[10] && length_best < MATCH_MIN) ? 5'd0 : length_best;
        result_way    <= WAY_BITS'(way_best);
        result_byte   <= byte10;
    end
endmodule
