// The hash of algorithm.md, section 2: from bytes to positions and their sets.
//
// It owns the last three bytes, the position of the next visit and three pipeline stages: products, their sum, the set. Invariant: one
// byte a cycle at any time, without back pressure; the visits come out in increasing order of position, a fixed number of
// cycles after the fourth byte of each went in. It does not know the end of the stream: a position without four bytes is simply never
// visited.
module faam_match_hash #(
    parameter int HASH_BITS = 13
) (
    input  logic                 clk,
    input  logic                 start,
    input  logic                 byte_valid,
    input  logic [7:0]           byte_data,
    output logic                 visit,
    output logic [HASH_BITS-1:0] visit_set,
    output logic [15:0]          visit_at,
    // The position is 2^16 or more, so that every distance modulo 2^16 is one that the stream has.
    output logic                 visit_far
);
    // 2^32 divided by the golden ratio.
    localparam logic [31:0] MULTIPLIER = 32'h9E37_79B1;

    logic [23:0] last;
    logic [1:0]  held;
    logic [15:0] next_at;
    logic        next_far;

    logic        word_valid;
    logic [31:0] word;
    logic [15:0] word_at;
    logic        word_far;

    always_ff @(posedge clk) begin
        word_valid <= byte_valid && held == 2'd3;
        word       <= {byte_data, last};
        word_at    <= next_at;
        word_far   <= next_far;
        if (byte_valid) begin
            last <= {byte_data, last[23:8]};
            if (held != 2'd3) held <= held + 1'b1;
            else begin
                next_at  <= next_at + 1'b1;
                next_far <= next_far || next_at == 16'hFFFF;
            end
        end
        if (start) begin
            word_valid <= 1'b0;
            held       <= 2'd0;
            next_at    <= '0;
            next_far   <= 1'b0;
        end
    end

    // The product modulo 2^32 out of three of 16 by 16 bits, of two of which only the low half counts.
    /* verilator lint_off UNUSEDSIGNAL */
    logic [31:0] low_low;
    logic [31:0] high_low;
    logic [31:0] low_high;
    logic [15:0] product;
    /* verilator lint_on UNUSEDSIGNAL */
    logic [15:0] carry;
    logic [15:0] middle;
    logic [2:0]  valid;
    logic [15:0] at[2];
    logic        far[2];

    assign product = carry + middle;

    always_ff @(posedge clk) begin
        valid[0]  <= word_valid;
        low_low   <= {16'd0, word[15:0]} * {16'd0, MULTIPLIER[15:0]};
        high_low  <= {16'd0, word[31:16]} * {16'd0, MULTIPLIER[15:0]};
        low_high  <= {16'd0, word[15:0]} * {16'd0, MULTIPLIER[31:16]};
        at[0]     <= word_at;
        far[0]    <= word_far;

        valid[1]  <= valid[0];
        carry     <= low_low[31:16];
        middle     <= high_low[15:0] + low_high[15:0];
        at[1]     <= at[0];
        far[1]    <= far[0];

        valid[2]  <= valid[1];
        visit_set <= product[15-:HASH_BITS];
        visit_at  <= at[1];
        visit_far <= far[1];

        if (start) valid <= '0;
    end

    assign visit = valid[2];
endmodule
