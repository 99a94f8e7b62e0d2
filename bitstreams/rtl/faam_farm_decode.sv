// What an I/O entry asks for: a Nop, a job within every limit, or a refusal with its status and the byte offset of the field
// at fault.
//
// Invariant: checks come in the order in which the simulated card makes them (sim/src/job.rs), so that both name the same
// field; what this build has not is Unsupported. The verdict stands a cycle after the entry does.
// Whether memory can be reached is found out later.
module faam_farm_decode #(
    parameter int WAYS = 4,
    parameter int TABLES = 1
) (
    input  logic                  clk,
    input  faam_farm_pkg::entry_t entry,
    output logic [1:0]            work,
    output logic [14:0]           status,
    output logic [7:0]            info
);
    localparam logic [7:0] NOP = 8'h80;
    localparam logic [7:0] COMPRESS = 8'h81;
    localparam logic [7:0] DECOMPRESS = 8'h82;
    localparam logic [7:0] COUNT = 8'h83;

    // What its fields are, a cycle later; the verdict is made of these.
    logic is_nop, is_compress, is_decompress, is_count, is_none;
    logic last, sync, hist, table_flag, flags_bad;
    logic mode_loaded, mode_fixed;
    logic table_sized, histogram_fits;
    logic hist_bad, level_bad, ways_lacking, framed, format_bad, reserved_bad, source_long;
    always_ff @(posedge clk) begin
        is_nop         <= entry.op == NOP;
        is_compress    <= entry.op == COMPRESS;
        is_decompress  <= entry.op == DECOMPRESS;
        is_count       <= entry.op == COUNT;
        is_none        <= entry.op[7:2] != 6'b1000_00;
        last           <= entry.flags[faam_farm_pkg::FLAG_FINAL];
        sync           <= entry.flags[faam_farm_pkg::FLAG_SYNC];
        hist           <= entry.flags[faam_farm_pkg::FLAG_HIST];
        table_flag     <= entry.flags[faam_farm_pkg::FLAG_TABLE];
        flags_bad      <= entry.flags[7:4] != 0;
        mode_loaded    <= entry.table_mode == 8'd1;
        mode_fixed     <= entry.table_mode == 8'd0;
        table_sized    <= entry.aux_len == 32'(faam_farm_pkg::TABLE_BYTES);
        histogram_fits <= entry.aux_len >= 32'(faam_farm_pkg::HISTOGRAM_BYTES);
        hist_bad       <= entry.hist_len == 0 || entry.hist_len > 32'(faam_farm_pkg::HISTORY_BYTES_MAX);
        level_bad      <= entry.level > 8'd2;
        ways_lacking   <= entry.level != 8'd0 && WAYS < 4;
        framed         <= entry.format != 8'd0;
        format_bad     <= entry.format > 8'd2;
        reserved_bad   <= entry.reserved != 0;
        source_long    <= entry.src_len > 32'(faam_farm_pkg::JOB_BYTES_MAX);
    end

    // The first check that fails, from the last to the first.
    always_comb begin
        work   = is_nop ? faam_farm_pkg::WORK_NOP : faam_farm_pkg::WORK_JOB;
        status = faam_farm_pkg::SUCCESS;
        info   = '0;
        if (is_compress) begin
            if (mode_loaded && table_flag) begin
                if (!table_sized) begin
                    status = faam_farm_pkg::INVALID_LENGTH;
                    info   = faam_farm_pkg::FIELD_AUX_LEN;
                end
                if (TABLES == 0) begin
                    status = faam_farm_pkg::UNSUPPORTED;
                    info   = faam_farm_pkg::FIELD_TABLE_MODE;
                end
            end else if (mode_loaded) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FLAGS;
            end else if (!mode_fixed || table_flag) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_TABLE_MODE;
            end
            if (level_bad) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end else if (ways_lacking) begin
                status = faam_farm_pkg::UNSUPPORTED;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end
            if (hist && framed) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FORMAT;
            end
            if (hist && hist_bad) begin
                status = faam_farm_pkg::INVALID_LENGTH;
                info   = faam_farm_pkg::FIELD_HIST_LEN;
            end
            if (!last && !sync) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FLAGS;
            end
            if (format_bad) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FORMAT;
            end
        end
        if (is_count) begin
            if (level_bad) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end else if (ways_lacking) begin
                status = faam_farm_pkg::UNSUPPORTED;
                info   = faam_farm_pkg::FIELD_LEVEL;
            end
            if (hist && hist_bad) begin
                status = faam_farm_pkg::INVALID_LENGTH;
                info   = faam_farm_pkg::FIELD_HIST_LEN;
            end
            if (!histogram_fits) begin
                status = faam_farm_pkg::INVALID_LENGTH;
                info   = faam_farm_pkg::FIELD_AUX_LEN;
            end
            if (table_flag) begin
                status = faam_farm_pkg::INVALID_FIELD;
                info   = faam_farm_pkg::FIELD_FLAGS;
            end
        end
        if (is_decompress || (is_count && TABLES == 0)) begin
            status = faam_farm_pkg::UNSUPPORTED;
            info   = faam_farm_pkg::FIELD_OP;
        end
        if (!is_nop && source_long) begin
            status = faam_farm_pkg::INVALID_LENGTH;
            info   = faam_farm_pkg::FIELD_SRC_LEN;
        end
        if (reserved_bad) begin
            status = faam_farm_pkg::INVALID_FIELD;
            info   = faam_farm_pkg::FIELD_RESERVED;
        end
        if (flags_bad) begin
            status = faam_farm_pkg::INVALID_FIELD;
            info   = faam_farm_pkg::FIELD_FLAGS;
        end
        if (is_none) begin
            status = faam_farm_pkg::INVALID_OPCODE;
            info   = faam_farm_pkg::FIELD_OP;
        end
        if (status != faam_farm_pkg::SUCCESS) work = faam_farm_pkg::WORK_REFUSED;
    end

    logic unused;
    assign unused = &{1'b0, entry};
endmodule
