// One way of the comparer: how many of 31 bytes from a candidate on are equal to those at the position.
//
// It owns its copies of the window and of the ring, and the stages between a candidate's address and the length. Invariants: a
// comparison a cycle, never a stall; a byte comes from the window if its whole row was there when the address was looked at, otherwise
// from the ring. The wanted bytes and the bound come in with the stage that needs them.
// It does not know positions of the parse, nor what a length is for.
module faam_match_way (
    input  logic         clk,
    // The writers.
    input  logic         byte_write,
    input  logic [8:0]   byte_at,
    input  logic [7:0]   byte_data,
    input  logic         pair_write,
    input  logic         pair_all,
    input  logic [9:0]   pair_row,
    input  logic [3:0]   pair_at,
    input  logic [15:0]  pair_data,
    input  logic [10:0]  window_row,
    // Stage 3: the candidate, and how far behind it the comparison begins.
    input  logic [15:0]  from,
    input  logic [7:0]   behind,
    // Stage 8: the bytes at the position, and which of them count.
    input  logic [247:0] wanted,
    input  logic [30:0]  counts,
    // Stage 9: whether the candidate holds at all.
    input  logic         holds,
    // Stage 10.
    output logic [4:0]   length
);
    logic [15:0] at4;
    logic [10:0] row4_next;

    assign row4_next = at4[15:5] + 1'b1;

    logic [9:0]   row5;
    logic [9:0]   row5_next;
    logic [4:0]   first5;
    logic         inside5;
    logic         inside5_next;

    logic [3:0]   row6;
    logic [3:0]   row6_next;
    logic [4:0]   first6;
    logic [15:0]  inside6;
    logic [255:0] window6;
    logic [255:0] ring6;

    logic [255:0] banks7;
    logic [4:0]   first7;
    logic [247:0] bytes7;

    logic [247:0] bytes8;
    logic [30:0]  equal9;

    faam_match_window window (
        .clk,
        .write(pair_write),
        .write_all(pair_all),
        .write_row(pair_row),
        .write_pair(pair_at),
        .write_data(pair_data),
        .read_row(row5),
        .read_row_next(row5_next),
        .read_pair(first5[4:1]),
        .read_bytes(window6)
    );

    faam_match_ring ring (
        .clk,
        .write(byte_write),
        .write_at(byte_at),
        .write_byte(byte_data),
        .read_row(row6),
        .read_row_next(row6_next),
        .read_pair(first6[4:1]),
        .read_bytes(ring6)
    );

    faam_match_rotate rotate (
        .banks(banks7),
        .first(first7),
        .bytes(bytes7)
    );

    // Equal bytes before the first that is not, of groups of four and then within the group.
    logic [7:0] group9;
    logic [2:0] groups9;
    logic [3:0] group9_equal;
    logic [4:0] length9;

    always_comb begin
        for (int g = 0; g < 7; g++) group9[g] = &equal9[g*4+:4];
        group9[7] = 1'b0;
        groups9   = 3'd7;
        for (int g = 6; g >= 0; g--) if (!group9[g]) groups9 = 3'(g);
        group9_equal = 4'b0000;
        for (int g = 0; g < 8; g++) begin
            if (groups9 == 3'(g)) group9_equal = (g == 7) ? {1'b0, equal9[30:28]} : equal9[(g%7)*4+:4];
        end
        unique casez (group9_equal)
            4'b???0: length9 = {groups9, 2'd0};
            4'b??01: length9 = {groups9, 2'd1};
            4'b?011: length9 = {groups9, 2'd2};
            4'b?111: length9 = {groups9, 2'd3};
        endcase
    end

    always_ff @(posedge clk) begin
        at4          <= from + {8'd0, behind};

        row5         <= at4[14:5];
        row5_next    <= row4_next[9:0];
        first5       <= at4[4:0];
        inside5      <= $signed(at4[15:5] - window_row) < 0;
        inside5_next <= $signed(row4_next - window_row) < 0;

        row6         <= row5[3:0];
        row6_next    <= row5_next[3:0];
        first6       <= first5;
        for (int pair = 0; pair < 16; pair++) begin
            inside6[pair] <= (4'(pair) < first5[4:1]) ? inside5_next : inside5;
        end

        for (int pair = 0; pair < 16; pair++) begin
            banks7[pair*16+:16] <= inside6[pair] ? window6[pair*16+:16] : ring6[pair*16+:16];
        end
        first7 <= first6;

        bytes8 <= bytes7;

        for (int i = 0; i < 31; i++) equal9[i] <= counts[i] && bytes8[i*8+:8] == wanted[i*8+:8];

        length <= holds ? length9 : 5'd0;
    end
endmodule
