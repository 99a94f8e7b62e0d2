// What an I/O entry asks for: a Nop, a job within every limit, or a refusal with its status and the byte offset of the field
// at fault.
//
// Invariant: checks come in the order in which the simulated card makes them (sim/src/job.rs), so that both name the same
// field; what this build has not is Unsupported. Combinational.
// Whether memory can be reached is found out later.
module faam_farm_decode #(
    parameter int WAYS = 4,
    parameter int TABLES = 1
) (
    input  faam_farm_pkg::entry_t entry,
    output logic [1:0]            work,
    output logic [14:0]           status,
    output logic [7:0]            info
);
    localparam logic [7:0] NOP = 8'h80;
    localparam logic [7:0] COMPRESS = 8'h81;
    localparam logic [7:0] DECOMPRESS = 8'h82;
    localparam logic [7:0] COUNT = 8'h83;

    logic last, sync, hist, table_flag;
    assign last       = entry.flags[faam_farm_pkg::FLAG_FINAL];
    assign sync       = entry.flags[faam_farm_pkg::FLAG_SYNC];
    assign hist       = entry.flags[faam_farm_pkg::FLAG_HIST];
    assign table_flag = entry.flags[faam_farm_pkg::FLAG_TABLE];

    logic bad_hist_len;
    logic bad_level;
    logic no_ways;
    assign bad_hist_len = hist && (entry.hist_len == 0 || entry.hist_len > 32'(faam_farm_pkg::HISTORY_BYTES_MAX));
    assign bad_level    = entry.level > 8'd2;
    assign no_ways      = entry.level != 8'd0 && WAYS < 4;

    // The first check that fails, from the last to the first.
    always_comb begin
        work   = entry.op == NOP ? faam_farm_pkg::WORK_NOP : faam_farm_pkg::WORK_JOB;
        status = faam_farm_pkg::SUCCESS;
        info   = '0;
        if (entry.op == COMPRESS) begin
            if (entry.table_mode == 8'd1 && table_flag) begin
                if (entry.aux_len != 32'(faam_farm_pkg::TABLE_BYTES)) begin
                    status = faam_farm_pkg::INVALID_LENGTH;
                    info   = faam_farm_pkg::FIELD_AUX_LEN;
                end
                if (TABLES == 0) begin
                    status = faam_farm_pkg::UNSUPPORTED;
                    info   = faam_farm_pkg::FIELD_TABLE_MODE;
                end
            end else if (entry.table_mode == 8'd1) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FLAGS;
            end else if (entry.table_mode != 8'd0 || table_flag) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_TABLE_MODE;
            end
            if (bad_level) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end else if (no_ways) begin
                status = faam_farm_pkg::UNSUPPORTED;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end
            if (hist && entry.format != 8'd0) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FORMAT;
            end
            if (bad_hist_len) begin
                status = faam_farm_pkg::INVALID_LENGTH;
                info   = faam_farm_pkg::FIELD_HIST_LEN;
            end
            if (!last && !sync) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FLAGS;
            end
            if (entry.format > 8'd2) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FORMAT;
            end
        end
        if (entry.op == COUNT) begin
            if (bad_level) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end else if (no_ways) begin
                status = faam_farm_pkg::UNSUPPORTED;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end
            if (bad_hist_len) begin
                status = faam_farm_pkg::INVALID_LENGTH;
                info   = faam_farm_pkg::FIELD_HIST_LEN;
            end
            if (entry.aux_len < 32'(faam_farm_pkg::HISTOGRAM_BYTES)) begin
                status = faam_farm_pkg::INVALID_LENGTH;
                info   = faam_farm_pkg::FIELD_AUX_LEN;
            end
            if (table_flag) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FLAGS;
            end
        end
        if (entry.op == DECOMPRESS || (entry.op == COUNT && TABLES == 0)) begin
            status = faam_farm_pkg::UNSUPPORTED;
            info   = faam_farm_pkg::FIELD_OP;
        end
        if (entry.op != NOP && entry.src_len > 32'(faam_farm_pkg::JOB_BYTES_MAX)) begin
            status = faam_farm_pkg::INVALID_LENGTH;
            info   = faam_farm_pkg::FIELD_SRC_LEN;
        end
        if (entry.reserved != 0) begin
            status = faam_farm_pkg::INVALID_FIELD;
            info   = faam_farm_pkg::FIELD_RESERVED;
        end
        if (entry.flags[7:4] != 0) begin
            status = faam_farm_pkg::INVALID_FIELD;
            info   = faam_farm_pkg::FIELD_FLAGS;
        end
        if (entry.op[7:2] != 6'b1000_00) begin
            status = faam_farm_pkg::INVALID_OPCODE;
            info   = faam_farm_pkg::FIELD_OP;
        end
        if (status != faam_farm_pkg::SUCCESS) work = faam_farm_pkg::WORK_REFUSED;
    end

    logic unused;
    assign unused = &{1'b0, entry};
endmodule
