// The identify structure (admin.rs, Identify), 64 bits at a time.
//
// Invariant: it repeats what the capability block says. Combinational.
module faam_farm_identify #(
    parameter int ENGINES = 1,
    parameter int IO_PAIRS = 16
) (
    input  logic [4:0]  index,   // of the word
    input  logic [63:0] serial,
    input  logic [31:0] clock_khz,
    input  logic [7:0]  number,  // of the function
    output logic [63:0] word
);
    // Text is padded with spaces; the first letter is the lowest byte.
    localparam logic [159:0] MODEL = "       LTR mraf MaaF";
    localparam logic [7:0] SPACE = 8'h20;

    function automatic logic [7:0] digit(input logic [3:0] nibble);
        digit = nibble < 4'd10 ? 8'h30 + {4'd0, nibble} : 8'h37 + {4'd0, nibble};
    endfunction

    // Sixteen digits, the highest nibble first.
    logic [127:0] digits;
    always_comb begin
        for (int i = 0; i < 16; i++) digits[8*i+:8] = digit(serial[4*(15-i)+:4]);
    end

    always_comb begin
        case (index)
            5'd0: word = digits[63:0];
            5'd1: word = digits[127:64];
            5'd2: word = {MODEL[31:0], {4{SPACE}}};
            5'd3: word = MODEL[95:32];
            5'd4: word = MODEL[159:96];
            5'd5, 5'd6: word = {8{SPACE}};
            5'd7: word = {" ltr", {4{SPACE}}};
            5'd8: word = {{7{SPACE}}, "1"};
            5'd9: word = {32'(ENGINES), {4{SPACE}}};
            5'd10: word = {32'(faam_farm_pkg::HISTORY_BYTES_MAX), 32'(faam_farm_pkg::JOB_BYTES_MAX)};
            5'd11: word = {number, 8'(faam_farm_pkg::ENTRIES_LOG2_MAX), 16'(IO_PAIRS), clock_khz};
            default: word = '0;
        endcase
    end
endmodule
