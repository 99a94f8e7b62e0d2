// Operations to symbols: RFC 1951, section 3.2.5, for lengths and distances; the rest goes through.
//
// A place is where a symbol stands in a table block: literal/length symbols at 0, distance symbols at 288. Invariant: three stages
// without a stall; what comes in now comes out, in order, three cycles later.
// It does not know codes.
module faam_encode_symbol
    import faam_encode_pkg::*;
(
    input  logic        clk,
    input  logic        rst,
    input  logic        in_valid,
    input  op_t         in_op,
    output logic        out_valid,
    output op_kind_t    out_kind,
    output logic [8:0]  out_place,
    output logic [12:0] out_extra,        // the extra bits; of OP_BITS, the bits
    output logic [3:0]  out_extra_count,
    output logic        busy
);
    localparam logic [8:0] LENGTH_PLACE = 9'd257;
    localparam logic [8:0] LENGTH_LONGEST_PLACE = 9'd285;
    localparam logic [8:0] DISTANCE_PLACE = 9'd288;
    localparam logic [14:0] LENGTH_LONGEST = 15'd258;

    // 1: lengths count from 3, distances from 1.
    logic        s1_valid;
    op_kind_t    s1_kind;
    logic [14:0] s1_value;
    logic [3:0]  s1_count;
    logic        s1_longest;

    // 2: how many low bits are extra ones.
    logic        s2_valid;
    op_kind_t    s2_kind;
    logic [14:0] s2_value;
    logic [3:0]  s2_count;
    logic        s2_longest;

    logic [3:0] high;  // the highest bit that is set; below 4, where no symbol has extra bits, 2
    always_comb begin
        high = 4'd2;
        for (int unsigned bit_at = 3; bit_at < 15; bit_at++) begin
            if (s1_value[bit_at]) high = 4'(bit_at);
        end
    end

    logic [3:0] count;
    always_comb begin
        case (s1_kind)
            OP_LENGTH: count = high - 4'd2;
            OP_DISTANCE: count = s1_value[14:2] == '0 ? 4'd0 : high - 4'd1;
            default: count = s1_count;
        endcase
    end

    // 3: the symbol from the three bits above the extra ones.
    logic [2:0]  top;
    logic [12:0] mask;
    logic [8:0]  place;
    assign top  = 3'(s2_value >> s2_count);
    assign mask = ~(13'h1fff << s2_count);
    always_comb begin
        case (s2_kind)
            OP_LENGTH:
                place = s2_longest ? LENGTH_LONGEST_PLACE : LENGTH_PLACE + {3'b0, s2_count, 2'b0} + {6'b0, top};
            OP_DISTANCE: place = DISTANCE_PLACE + {4'b0, s2_count, 1'b0} + {6'b0, top};
            default: place = s2_value[8:0];
        endcase
    end

    always_ff @(posedge clk) begin
        if (rst) begin
            s1_valid  <= 1'b0;
            s2_valid  <= 1'b0;
            out_valid <= 1'b0;
        end else begin
            s1_valid  <= in_valid;
            s2_valid  <= s1_valid;
            out_valid <= s2_valid;
        end
    end

    always_ff @(posedge clk) begin
        s1_kind    <= in_op.kind;
        s1_count   <= in_op.count;
        s1_longest <= in_op.value == LENGTH_LONGEST;
        case (in_op.kind)
            OP_LENGTH: s1_value <= in_op.value - 15'd3;
            OP_DISTANCE: s1_value <= in_op.value - 15'd1;
            default: s1_value <= in_op.value;
        endcase

        s2_kind    <= s1_kind;
        s2_value   <= s1_value;
        s2_longest <= s1_longest;
        s2_count   <= count;

        out_kind  <= s2_kind;
        out_place <= place;
        case (s2_kind)
            OP_LENGTH: begin
                out_extra       <= s2_longest ? 13'd0 : s2_value[12:0] & mask;
                out_extra_count <= s2_longest ? 4'd0 : s2_count;
            end
            OP_DISTANCE, OP_BITS: begin
                out_extra       <= s2_value[12:0] & mask;
                out_extra_count <= s2_count;
            end
            default: begin
                out_extra       <= '0;
                out_extra_count <= '0;
            end
        endcase
    end

    assign busy = in_valid || s1_valid || s2_valid || out_valid;
endmodule
