// The youngest 512 bytes of the stream, in 32 LUT RAMs of a byte: what the window does not hold yet.
//
// It owns them by position modulo 512. A read gives 31 bytes from any position in one piece, still in the order of the banks: byte
// bank b of the answer is that of the read's row or of the row after. Invariant: banks 2j and 2j+1 always answer from the same row, as the
// window's do, which is why only 31 of the 32 bytes are of use. It does not know which of its bytes are valid.
module faam_match_ring (
    input  logic         clk,
    input  logic         write,
    input  logic [8:0]   write_at,
    input  logic [7:0]   write_byte,
    // Asynchronous: the row of the first byte, the one after it, and the first byte's pair.
    input  logic [3:0]   read_row,
    input  logic [3:0]   read_row_next,
    input  logic [3:0]   read_pair,
    output logic [255:0] read_bytes
);
    for (genvar bank = 0; bank < 32; bank++) begin : g_bank
        logic [7:0] bytes[16];
        logic [3:0] row;

        assign row = ({1'b0, read_pair} > 5'(bank / 2)) ? read_row_next : read_row;
        assign read_bytes[bank*8+:8] = bytes[row];

        always_ff @(posedge clk) begin
            if (write && write_at[4:0] == 5'(bank)) bytes[write_at[8:5]] <= write_byte;
        end
    end
endmodule
