// The coder: operations in, beats of output out, and whether a symbol had no code.
//
// Fourteen stages that never stall; whoever gives the operations looks that there is room for the beats of all that are under
// way: at most 28 bits each. Invariant: the output is that of the operations in their order.
// It does not know jobs, nor what the operations make.
module faam_encode
    import faam_encode_pkg::*;
#(
    parameter int TABLES = 1
) (
    input  logic        clk,
    input  logic        rst,
    input  logic        clear,          // a new output begins; nothing is under way
    input  logic        loaded,
    output logic        load_idle,      // a table can be loaded
    input  logic        load_clear,
    input  logic        load_valid,
    input  logic [7:0]  load_length,
    output logic        load_ready,
    output logic [2:0]  rule,
    input  logic        in_valid,
    input  op_t         in_op,
    output logic        place_valid,    // for counting: a symbol, where it stands in a histogram
    output logic [8:0]  place,
    output logic        beat_valid,
    output logic [63:0] beat_data,
    output logic [3:0]  beat_bytes,
    output logic [31:0] aligned_bytes,
    output logic        missed,         // since rst or load_clear
    output logic        busy
);
    localparam int FIND_STAGES = 4;

    logic        symbol_valid;
    op_kind_t    symbol_kind;
    logic [12:0] symbol_extra;
    logic [3:0]  symbol_extra_count;
    logic        symbol_busy;

    faam_encode_symbol symbol (
        .clk,
        .rst,
        .in_valid,
        .in_op,
        .out_valid(symbol_valid),
        .out_kind(symbol_kind),
        .out_place(place),
        .out_extra(symbol_extra),
        .out_extra_count(symbol_extra_count),
        .busy(symbol_busy)
    );

    logic [14:0] found_code;
    logic [3:0]  found_length;

    faam_table #(
        .TABLES(TABLES)
    ) code (
        .clk,
        .rst,
        .ready(load_idle),
        .load_clear,
        .load_valid,
        .load_length,
        .load_ready,
        .rule,
        .loaded,
        .find_place(place),
        .found_code,
        .found_length
    );

    // Beside the look-up.
    typedef struct packed {
        op_kind_t    kind;
        logic [12:0] extra;
        logic [3:0]  extra_count;
    } beside_t;
    logic [FIND_STAGES-1:0] find_valid;
    beside_t [FIND_STAGES-1:0] find_beside;
    beside_t found;
    logic found_valid;
    assign found       = find_beside[FIND_STAGES-1];
    assign found_valid = find_valid[FIND_STAGES-1];

    logic coded;
    assign coded       = found.kind == OP_SYMBOL || found.kind == OP_LENGTH || found.kind == OP_DISTANCE;
    assign place_valid = symbol_valid
        && (symbol_kind == OP_SYMBOL || symbol_kind == OP_LENGTH || symbol_kind == OP_DISTANCE);

    // 1: the code's most significant bit comes first.
    logic        s1_valid;
    logic        s1_align;
    logic        s1_flush;
    logic [14:0] s1_code;
    logic [3:0]  s1_length;
    logic [12:0] s1_extra;
    logic [3:0]  s1_extra_count;

    logic [14:0] turned;
    always_comb begin
        for (int unsigned bit_at = 0; bit_at < 15; bit_at++) turned[bit_at] = found_code[14-bit_at];
    end

    // 2: the extra bits come behind the code.
    logic        s2_valid;
    logic        s2_align;
    logic        s2_flush;
    logic [27:0] s2_bits;
    logic [4:0]  s2_count;

    always_ff @(posedge clk) begin
        if (rst) begin
            find_valid <= '0;
            s1_valid   <= 1'b0;
            s2_valid   <= 1'b0;
            missed     <= 1'b0;
        end else begin
            find_valid <= {find_valid[FIND_STAGES-2:0], symbol_valid};
            s1_valid   <= found_valid;
            s2_valid   <= s1_valid;
            if (load_clear) missed <= 1'b0;
            else if (found_valid && coded && found_length == '0) missed <= 1'b1;
        end
    end

    always_ff @(posedge clk) begin
        find_beside <= {find_beside[FIND_STAGES-2:0], {symbol_kind, symbol_extra, symbol_extra_count}};

        s1_align       <= found.kind == OP_ALIGN;
        s1_flush       <= found.kind == OP_FLUSH;
        s1_code        <= coded ? turned >> (4'd15 - found_length) : 15'd0;
        s1_length      <= coded ? found_length : 4'd0;
        s1_extra       <= found.extra;
        s1_extra_count <= found.extra_count;

        s2_align <= s1_align;
        s2_flush <= s1_flush;
        s2_bits  <= {13'b0, s1_code} | ({15'b0, s1_extra} << s1_length);
        s2_count <= {1'b0, s1_length} + {1'b0, s1_extra_count};
    end

    logic pack_busy;

    faam_encode_pack pack (
        .clk,
        .rst,
        .clear,
        .in_valid(s2_valid),
        .in_align(s2_align),
        .in_flush(s2_flush),
        .in_bits(s2_bits),
        .in_count(s2_count),
        .beat_valid,
        .beat_data,
        .beat_bytes,
        .aligned_bytes,
        .busy(pack_busy)
    );

    assign busy = symbol_busy || find_valid != '0 || s1_valid || pack_busy;
endmodule
