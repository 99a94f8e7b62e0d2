// CRC-32 (RFC 1952, section 8) and Adler-32 (RFC 1950, section 8.2) of a stream, a byte a cycle.
//
// Invariant: four cycles after the last byte, `crc32` and `adler32` are those of all bytes since `clear`; with none, 0 and 1.
// It does not know whose bytes these are.
module faam_checksum (
    input  logic        clk,
    input  logic        clear,
    input  logic        in_valid,
    input  logic [7:0]  in_byte,
    output logic [31:0] crc32,
    output logic [31:0] adler32
);
    // 65521 is 15 short of 2^16: a sum reaches it when 15 more would carry.
    localparam logic [15:0] SHORT = 16'd15;

    logic        s1_valid;
    logic [7:0]  s1_byte;
    logic [8:0]  s1_byte_short;

    logic [31:0] crc;
    logic [31:0] crc_next;
    faam_crc32_1 step (
        .crc,
        .data(s1_byte),
        .next(crc_next)
    );

    // The sum of bytes, and a stage later the sum of sums.
    logic [15:0] a;
    logic [16:0] a_plain;
    logic [16:0] a_short;
    assign a_plain = {1'b0, a} + {9'b0, s1_byte};
    assign a_short = {1'b0, a} + {8'b0, s1_byte_short};

    logic        s2_valid;
    logic        s3_valid;
    logic [15:0] s3_a;
    logic [15:0] s3_a_short;
    logic [15:0] b;
    logic [16:0] b_plain;
    logic [16:0] b_short;
    assign b_plain = {1'b0, b} + {1'b0, s3_a};
    assign b_short = {1'b0, b} + {1'b0, s3_a_short};

    always_ff @(posedge clk) begin
        if (clear) begin
            s1_valid <= 1'b0;
            s2_valid <= 1'b0;
            s3_valid <= 1'b0;
            crc      <= '1;
            a        <= 16'd1;
            b        <= 16'd0;
        end else begin
            s1_valid <= in_valid;
            s2_valid <= s1_valid;
            s3_valid <= s2_valid;
            if (s1_valid) begin
                crc <= crc_next;
                a   <= a_short[16] ? a_short[15:0] : a_plain[15:0];
            end
            if (s3_valid) b <= b_short[16] ? b_short[15:0] : b_plain[15:0];
        end
    end

    always_ff @(posedge clk) begin
        s1_byte       <= in_byte;
        s1_byte_short <= {1'b0, in_byte} + SHORT[8:0];
        s3_a          <= a;
        s3_a_short    <= a + SHORT;
    end

    assign crc32   = ~crc;
    assign adler32 = {b, a};

    logic unused;
    assign unused = &{1'b0, a_plain[16], b_plain[16]};
endmodule
