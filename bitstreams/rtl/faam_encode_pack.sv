// The bit packer: bit strings in, beats of eight bytes out, least significant bit first (RFC 1951, section 3.1.1).
//
// Four stages without a stall: where the string goes, shift by bits, shift by bytes, merge. Invariant: a beat has eight bytes, but
// for that of a flush; `aligned_bytes` is the length of everything since `clear`, once the packer is not busy and aligned.
// It does not know how much room there is.
module faam_encode_pack (
    input  logic        clk,
    input  logic        rst,
    input  logic        clear,       // between two outputs; nothing is in the stages
    input  logic        in_valid,
    input  logic        in_align,
    input  logic        in_flush,
    input  logic [27:0] in_bits,
    input  logic [4:0]  in_count,    // at most 28; bits from there on are 0
    output logic        beat_valid,
    output logic [63:0] beat_data,
    output logic [3:0]  beat_bytes,
    output logic [31:0] aligned_bytes,
    output logic        busy
);
    // 1: `fill` bits wait in the last stage for the beat to be full.
    logic [5:0]  fill;
    logic [28:0] beats;
    logic [4:0]  count;
    logic [6:0]  filled;
    assign count  = in_align ? {2'b0, -fill[2:0]} : in_count;
    assign filled = {1'b0, fill} + {2'b0, count};

    logic        s1_valid;
    logic        s1_emits;
    logic [3:0]  s1_bytes;
    logic [5:0]  s1_shift;
    logic [27:0] s1_bits;

    logic        s2_valid;
    logic        s2_emits;
    logic [3:0]  s2_bytes;
    logic [2:0]  s2_shift;
    logic [34:0] s2_bits;

    logic        s3_valid;
    logic        s3_emits;
    logic [3:0]  s3_bytes;
    logic [90:0] s3_bits;

    logic [63:0] waiting;
    logic [63:0] merged;
    assign merged = waiting | s3_bits[63:0];

    always_ff @(posedge clk) begin
        if (rst || clear) begin
            fill       <= '0;
            beats      <= '0;
            s1_valid   <= 1'b0;
            s2_valid   <= 1'b0;
            s3_valid   <= 1'b0;
            waiting    <= '0;
            beat_valid <= 1'b0;
        end else begin
            if (in_valid) begin
                fill <= in_flush ? 6'd0 : filled[5:0];
                if (!in_flush && filled[6]) beats <= beats + 29'd1;
            end
            s1_valid <= in_valid;
            s2_valid <= s1_valid;
            s3_valid <= s2_valid;
            if (s3_valid) begin
                if (!s3_emits) waiting <= merged;
                else waiting <= {37'b0, s3_bits[90:64]};
            end
            beat_valid <= s3_valid && s3_emits;
        end
    end

    always_ff @(posedge clk) begin
        s1_emits <= in_flush ? fill != '0 : filled[6];
        s1_bytes <= in_flush ? {1'b0, fill[5:3]} : 4'd8;
        s1_shift <= fill;
        s1_bits  <= in_bits;

        s2_emits <= s1_emits;
        s2_bytes <= s1_bytes;
        s2_shift <= s1_shift[5:3];
        s2_bits  <= {7'b0, s1_bits} << s1_shift[2:0];

        s3_emits <= s2_emits;
        s3_bytes <= s2_bytes;
        s3_bits  <= {56'b0, s2_bits} << {s2_shift, 3'b0};

        beat_data  <= merged;
        beat_bytes <= s3_bytes;
    end

    assign aligned_bytes = {beats, fill[5:3]};
    assign busy          = in_valid || s1_valid || s2_valid || s3_valid || beat_valid;
endmodule
