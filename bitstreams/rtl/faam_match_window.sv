// The last 32 KiB of the stream, for one way: 16 block RAMs, each two bytes wide.
//
// It owns them by position modulo 2^15. A read gives 31 bytes from any position in one piece, in the order of the banks, a cycle after
// its address. Invariant: a pair is overwritten only when nobody can ask for it any more, which is for the writer to see to.
// It does not know positions beyond its own size.
module faam_match_window (
    input  logic         clk,
    input  logic         write,
    // Into every bank, of whatever pair.
    input  logic         write_all,
    input  logic [9:0]   write_row,
    input  logic [3:0]   write_pair,
    input  logic [15:0]  write_data,
    input  logic [9:0]   read_row,
    input  logic [9:0]   read_row_next,
    input  logic [3:0]   read_pair,
    output logic [255:0] read_bytes
);
    for (genvar bank = 0; bank < 16; bank++) begin : g_bank
        faam_match_ram #(
            .W(16),
            .DEPTH(1024)
        ) pairs (
            .clk,
            .write(write && (write_all || write_pair == 4'(bank))),
            .write_at(write_row),
            .write_data,
            .read_at(({1'b0, read_pair} > 5'(bank)) ? read_row_next : read_row),
            .read_data(read_bytes[bank*16+:16])
        );
    end
endmodule
