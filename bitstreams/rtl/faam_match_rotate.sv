// 32 bytes in the order of the banks, turned into 31 bytes in the order of the stream.
//
// Combinational, five layers of two-way multiplexers: a LUT4 each, where a four-way one would take three. Byte i of the
// answer is that of bank (first + i) mod 32. It owns nothing.
module faam_match_rotate (
    input  logic [255:0] banks,
    input  logic [4:0]   first,
    output logic [247:0] bytes
);
    /* verilator lint_off UNUSEDSIGNAL */
    logic [255:0] turned[6];
    /* verilator lint_on UNUSEDSIGNAL */

    always_comb begin
        turned[5] = banks;
        for (int bit_at = 4; bit_at >= 0; bit_at--) begin
            for (int i = 0; i < 32; i++) begin
                turned[bit_at][i*8+:8] = first[bit_at]
                    ? turned[bit_at+1][((i+(1<<bit_at))%32)*8+:8] : turned[bit_at+1][i*8+:8];
            end
        end
        bytes = turned[0][247:0];
    end
endmodule
