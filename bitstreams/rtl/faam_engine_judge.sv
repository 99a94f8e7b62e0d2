// How long a job's output is, and whether it is stored (algorithm.md, section 6).
//
// Invariant: eight cycles after `src_len`, and five after `coded_bytes`, were there and stayed, the answers are theirs.
// It does not know the data.
module faam_engine_judge
    import faam_engine_pkg::*;
(
    input  logic        clk,
    input  logic [1:0]  format,
    input  logic        last,
    input  logic [20:0] src_len,
    input  logic [31:0] dst_cap,
    input  logic [31:0] coded_bytes,    // of header and coded body
    output logic [3:0]  header_bytes,
    output logic [3:0]  trailer_bytes,
    output logic        stored,
    output logic [31:0] out_len,
    output logic        full
);
    always_ff @(posedge clk) begin
        case (format)
            FORMAT_ZLIB: begin
                header_bytes  <= 4'd2;
                trailer_bytes <= last ? 4'd4 : 4'd0;
            end
            FORMAT_GZIP: begin
                header_bytes  <= 4'd10;
                trailer_bytes <= last ? 4'd8 : 4'd0;
            end
            default: begin
                header_bytes  <= 4'd0;
                trailer_bytes <= 4'd0;
            end
        endcase
    end

    // Blocks of 65535 bytes: n = q * 2^16 + r = q * 65535 + (q + r), and q + r is less than two blocks.
    logic [16:0] over;
    logic [4:0]  over_blocks;
    logic [5:0]  blocks;
    logic [20:0] stored_len;
    logic [31:0] body_len;
    logic [31:0] stored_total;
    logic [31:0] coded_total;

    always_comb begin
        if (over == '0) over_blocks = 5'd0;
        else if (over > 17'd65535) over_blocks = 5'd2;
        else over_blocks = 5'd1;
    end

    always_ff @(posedge clk) begin
        over         <= {12'b0, src_len[20:16]} + {1'b0, src_len[15:0]};
        blocks       <= src_len == '0 ? 6'd1 : {1'b0, src_len[20:16]} + {1'b0, over_blocks};
        stored_len   <= src_len + {13'b0, blocks, 2'b0} + {15'b0, blocks} + (last ? 21'd0 : 21'd5);
        stored_total <= {11'b0, stored_len} + {27'b0, {1'b0, header_bytes} + {1'b0, trailer_bytes}};

        body_len    <= coded_bytes - {28'b0, header_bytes};
        coded_total <= coded_bytes + {28'b0, trailer_bytes};
        stored      <= body_len > {11'b0, stored_len};
        out_len     <= stored ? stored_total : coded_total;
        full        <= out_len > dst_cap;
    end
endmodule
