// What an admin entry asks for, and whether it can be done: the refusal's status and the byte offset of the field at fault,
// or success.
//
// Invariant: checks come in the order in which hwif (admin.rs) and the simulated card (sim/src/admin.rs) make them; a shadow
// page, which the farm has not, is Unsupported. The verdict stands a cycle after the entry does.
// It does not do anything; what memory says comes later.
module faam_farm_admin #(
    parameter int IO_PAIRS = 16
) (
    input  logic                  clk,
    input  faam_farm_pkg::entry_t entry,
    input  logic [31:0]           exists,  // queues, a bit each
    output logic [14:0]           status,
    output logic [7:0]            info,
    output faam_farm_pkg::shape_t shape    // of a queue to be created
);
    localparam logic [31:0] SHADOW_BYTES = 32'd256;
    localparam logic [31:0] IDENTIFY_BYTES = 32'd256;
    localparam logic [15:0] NO_VECTOR = 16'hFFFF;

    logic [15:0] irq;
    assign irq = entry.aux_len[31:16];
    // What its fields are, a cycle later; the verdict is made of these.
    logic [7:0] op;
    logic number_bad, number_long, is_there, irq_bad, room_short, log2_bad, source_off, target_off;
    logic shadow, shadow_sized, shadow_off, selector_bad, command_long, flags_bad;
    always_ff @(posedge clk) begin
        op           <= entry.op;
        number_bad   <= entry.src_len == 0 || entry.src_len > 32'(IO_PAIRS);
        number_long  <= entry.src_len[31:16] != 0;
        is_there     <= exists[entry.src_len[4:0]];
        irq_bad      <= irq != NO_VECTOR && irq > 16'(IO_PAIRS);
        room_short   <= entry.dst_cap < IDENTIFY_BYTES;
        log2_bad     <= entry.dst_cap == 0 || entry.dst_cap > 32'(faam_farm_pkg::ENTRIES_LOG2_MAX);
        source_off   <= entry.src[5:0] != 0;
        target_off   <= entry.dst[5:0] != 0;
        shadow       <= entry.hist_len != 0;
        shadow_sized <= entry.hist_len == SHADOW_BYTES;
        shadow_off   <= entry.hist[7:0] != 0;
        selector_bad <= entry.src_len != 32'd1 && entry.src_len != 32'd2;
        command_long <= entry.dst_cap[31:16] != 0;
        flags_bad    <= entry.flags != 0;
    end

    always_comb begin
        shape.sq      = entry.src[63:6];
        shape.cq      = entry.dst[63:6];
        shape.log2    = entry.dst_cap[3:0];
        shape.has_irq = irq != NO_VECTOR;
        shape.irq     = irq[4:0];
        shape.epoch   = entry.aux_len[15:0];
    end

    // The first check that fails, from the last to the first.
    always_comb begin
        status = faam_farm_pkg::SUCCESS;
        info   = '0;
        case (op)
            faam_farm_pkg::OP_IDENTIFY:
                if (room_short) begin
                    status = faam_farm_pkg::INVALID_LENGTH;
                    info   = faam_farm_pkg::FIELD_DST_CAP;
                end
            faam_farm_pkg::OP_CREATE_QUEUE: begin
                if (is_there) status = faam_farm_pkg::QUEUE_EXISTS;
                if (irq_bad) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_AUX_LEN;
                end
                if (number_bad) begin
                    status = faam_farm_pkg::INVALID_QUEUE;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
                if (shadow) begin
                    status = faam_farm_pkg::UNSUPPORTED;
                    info   = faam_farm_pkg::FIELD_HIST_LEN;
                end
                if (number_long) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
                if (shadow_sized && shadow_off) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_HIST;
                end
                if (shadow && !shadow_sized) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_HIST_LEN;
                end
                if (target_off) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_DST;
                end
                if (source_off) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_SRC;
                end
                if (log2_bad) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_DST_CAP;
                end
            end
            faam_farm_pkg::OP_DELETE_QUEUE: begin
                if (number_bad || !is_there) begin
                    status = faam_farm_pkg::INVALID_QUEUE;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
                if (number_long) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
            end
            faam_farm_pkg::OP_SET_FEATURES, faam_farm_pkg::OP_GET_LOG_PAGE:
                if (selector_bad) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
            faam_farm_pkg::OP_ABORT: begin
                if (number_bad || !is_there) begin
                    status = faam_farm_pkg::INVALID_QUEUE;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
                if (number_long) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_SRC_LEN;
                end
                if (command_long) begin
                    status = faam_farm_pkg::INVALID_FIELD;
                    info   = faam_farm_pkg::FIELD_DST_CAP;
                end
            end
            default: begin
                status = faam_farm_pkg::INVALID_OPCODE;
                info   = faam_farm_pkg::FIELD_OP;
            end
        endcase
        if (flags_bad) begin
            status = faam_farm_pkg::INVALID_FIELD;
            info   = faam_farm_pkg::FIELD_FLAGS;
        end
    end

    logic unused;
    assign unused = &{1'b0, entry};
endmodule
