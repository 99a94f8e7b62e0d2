// BAR0: what each word reads as, and what writing it does.
//
// Owns the host's registers, the heartbeat, and the decoding of doorbells and counters. Offsets, fixed values and the
// interface uuid are the map's (faam_regs_pkg).
// Invariants: every word has a defined value; a write to anything but a read-write register, RESET or a doorbell changes
// nothing; every access is answered in bounded time, whatever memory does: one that begins or ends a life when that is done,
// SETTLE_CYCLES later at the latest.
// It does not know what an entry is.
module faam_farm_regs #(
    parameter int ENGINES = 1,
    parameter int IO_PAIRS = 16,
    parameter int WAYS = 4,
    parameter int TABLES = 1,
    parameter int QUEUES = IO_PAIRS + 1
) (
    input  logic              clk,
    input  logic              rst,
    // the bus
    input  logic              reg_valid,
    output logic              reg_ready,
    input  logic              reg_write,
    input  logic [19:0]       reg_addr,
    input  logic [31:0]       reg_wdata,
    output logic              reg_rsp_valid,
    output logic [31:0]       reg_rdata,
    // straps
    input  logic [7:0]        strap_function,
    input  logic [7:0]        strap_functions,
    input  logic [63:0]       strap_serial,
    input  logic [31:0]       strap_clock_khz,
    input  logic [7:0]        strap_model,
    // life
    output logic              set_enable,
    output logic              set_enable_to,
    output logic              set_reset,
    input  logic              registers_reset,
    input  logic              enable,
    input  logic              ready,
    input  logic              fatal,
    input  logic              dma_idle,
    input  logic              resetting,
    input  logic              changing,
    input  logic [31:0]       epoch,
    input  logic              awake,
    output logic [63:0]       admin_sq,
    output logic [63:0]       admin_cq,
    output logic [31:0]       admin_queue,
    // queues
    input  logic [QUEUES-1:0] exists,
    input  logic [15:0]       io_pairs,
    output logic              bell_valid,
    input  logic              bell_ready,
    output logic [4:0]        bell_qid,
    output logic              bell_head,
    output logic              bell_none,
    output logic [31:0]       bell_value,
    // counters
    output logic              count_valid,
    input  logic              count_ready,
    output logic [7:0]        count_at,
    input  logic [63:0]       count_value,
    // errors
    input  logic [3:0]        first_code,
    input  logic [4:0]        first_qid,
    input  logic [63:0]       first_value,
    input  logic [31:0]       error_count
);
    // Longest time that a write waits for the change of life that it asked for.
    localparam logic [11:0] SETTLE_CYCLES = 12'd2048;
    // Cycles between two beats, log2.
    localparam int BEAT_LOG2 = 10;

    localparam logic [2:0] WAIT = 3'd0;
    localparam logic [2:0] DECODE = 3'd1;
    localparam logic [2:0] BELL = 3'd2;
    localparam logic [2:0] COUNTER = 3'd3;
    localparam logic [2:0] SETTLE = 3'd4;
    localparam logic [2:0] RESPOND = 3'd5;
    localparam logic [2:0] SHOW = 3'd6;

    logic [2:0]  state;
    logic        write;
    logic [19:0] addr;
    logic [31:0] wdata;
    logic [11:0] settle;

    // Doorbell pages and counter rows.
    logic [7:0] page;
    logic       is_bell;
    logic       is_counter;
    localparam logic [7:0] FIRST_PAGE = faam_regs_pkg::DOORBELLS_BASE_RESET[19:12];
    localparam logic [7:0] COUNTER_PAGE = faam_regs_pkg::QUEUE_COUNTERS_BASE_RESET[19:12];
    assign page       = addr[19:12] - FIRST_PAGE;
    assign is_bell    = addr[19:12] >= FIRST_PAGE && page < 8'(QUEUES);
    assign is_counter = addr[19:12] == COUNTER_PAGE && addr[11:6] < 6'(QUEUES);
    assign bell_valid = state == BELL;
    assign bell_qid   = page[4:0];
    assign bell_head  = addr[11:2] == 10'd1;
    assign bell_none  = addr[11:3] != 9'd0;
    assign bell_value = wdata;
    assign count_valid = state == COUNTER;
    assign count_at    = {addr[10:6], addr[5:3]};

    // Heartbeat: it stands still when the sequencer never comes back from what it does.
    logic [BEAT_LOG2-1:0] beat_part;
    logic        beat_due;
    logic [31:0] heartbeat;
    logic [31:0] next_beat;
    assign next_beat = heartbeat + 32'd1;
    always_ff @(posedge clk) begin
        if (rst) begin
            beat_part <= '0;
            beat_due  <= 1'b0;
            heartbeat <= '0;
        end else begin
            beat_part <= beat_part + 1'b1;
            if (&beat_part) beat_due <= 1'b1;
            if (beat_due && awake) begin
                beat_due  <= 1'b0;
                heartbeat <= (&next_beat) ? '0 : next_beat;
            end
        end
    end

    logic [3:0][31:0] value;
    logic [31:0] word_at;
    assign word_at = {12'd0, addr[19:2], 2'd0};
    localparam logic [31:0] FEATURES = {25'd0, 1'b0, 1'b1, 1'b1, 1'b0, 1'b1, TABLES != 0, 1'b0};
    localparam logic [31:0] LEVELS = (WAYS >= 4 && TABLES != 0) ? 32'd7 : 32'd1;
    // In four parts, each of which is zero where another has the word.
    always_comb begin
        value = '0;
        case (word_at)
            faam_regs_pkg::IDENTITY_BLOCK_HEADER_OFFSET: value[0] = faam_regs_pkg::IDENTITY_BLOCK_HEADER_RESET;
            faam_regs_pkg::IDENTITY_BLOCK_NEXT_OFFSET: value[0] = faam_regs_pkg::IDENTITY_BLOCK_NEXT_RESET;
            faam_regs_pkg::IDENTITY_MAGIC_OFFSET: value[0] = faam_regs_pkg::IDENTITY_MAGIC_RESET;
            faam_regs_pkg::IDENTITY_ABI_VERSION_OFFSET: value[0] = faam_regs_pkg::IDENTITY_ABI_VERSION_RESET;
            faam_regs_pkg::IDENTITY_INTERFACE_UUID_0_OFFSET: value[0] = faam_regs_pkg::INTERFACE_UUID[31:0];
            faam_regs_pkg::IDENTITY_INTERFACE_UUID_1_OFFSET: value[0] = faam_regs_pkg::INTERFACE_UUID[63:32];
            faam_regs_pkg::IDENTITY_INTERFACE_UUID_2_OFFSET: value[0] = faam_regs_pkg::INTERFACE_UUID[95:64];
            faam_regs_pkg::IDENTITY_INTERFACE_UUID_3_OFFSET: value[0] = faam_regs_pkg::INTERFACE_UUID[127:96];
            faam_regs_pkg::IDENTITY_SERIAL_LO_OFFSET: value[0] = strap_serial[31:0];
            faam_regs_pkg::IDENTITY_SERIAL_HI_OFFSET: value[0] = strap_serial[63:32];
            faam_regs_pkg::IDENTITY_FUNCTION_OFFSET: value[0] = {16'd0, strap_functions, strap_function};
            faam_regs_pkg::IDENTITY_MODEL_OFFSET: value[0] = {24'd0, strap_model};
            default: ;
        endcase
        case (word_at)
            faam_regs_pkg::CAPABILITIES_BLOCK_HEADER_OFFSET: value[1] = faam_regs_pkg::CAPABILITIES_BLOCK_HEADER_RESET;
            faam_regs_pkg::CAPABILITIES_BLOCK_NEXT_OFFSET: value[1] = faam_regs_pkg::CAPABILITIES_BLOCK_NEXT_RESET;
            faam_regs_pkg::CAPABILITIES_FEATURES_OFFSET: value[1] = FEATURES;
            faam_regs_pkg::CAPABILITIES_QUEUES_OFFSET:
                value[1] = {8'd0, 8'(faam_farm_pkg::ENTRIES_LOG2_MAX), 16'(IO_PAIRS)};
            faam_regs_pkg::CAPABILITIES_ENGINES_OFFSET:
                value[1] = {16'd0, 8'(faam_farm_pkg::JOBS_PER_ENGINE_MAX), 8'(ENGINES)};
            faam_regs_pkg::CAPABILITIES_JOB_BYTES_MAX_OFFSET: value[1] = 32'(faam_farm_pkg::JOB_BYTES_MAX);
            faam_regs_pkg::CAPABILITIES_HISTORY_BYTES_MAX_OFFSET: value[1] = 32'(faam_farm_pkg::HISTORY_BYTES_MAX);
            faam_regs_pkg::CAPABILITIES_FORMATS_OFFSET: value[1] = 32'd7;
            faam_regs_pkg::CAPABILITIES_CLOCK_KHZ_OFFSET: value[1] = strap_clock_khz;
            faam_regs_pkg::CAPABILITIES_VECTORS_OFFSET: value[1] = 32'(QUEUES);
            faam_regs_pkg::CAPABILITIES_LEVELS_OFFSET: value[1] = LEVELS;
            default: ;
        endcase
        case (word_at)
            faam_regs_pkg::CONTROL_BLOCK_HEADER_OFFSET: value[2] = faam_regs_pkg::CONTROL_BLOCK_HEADER_RESET;
            faam_regs_pkg::CONTROL_BLOCK_NEXT_OFFSET: value[2] = faam_regs_pkg::CONTROL_BLOCK_NEXT_RESET;
            faam_regs_pkg::CONTROL_CONTROL_OFFSET: value[2] = {31'd0, enable};
            faam_regs_pkg::CONTROL_STATUS_OFFSET: value[2] = {28'd0, resetting, dma_idle, fatal, ready};
            faam_regs_pkg::CONTROL_RESET_EPOCH_OFFSET: value[2] = epoch;
            faam_regs_pkg::CONTROL_HEARTBEAT_OFFSET: value[2] = heartbeat;
            faam_regs_pkg::QUEUE_CONTROL_BLOCK_HEADER_OFFSET: value[2] = faam_regs_pkg::QUEUE_CONTROL_BLOCK_HEADER_RESET;
            faam_regs_pkg::QUEUE_CONTROL_BLOCK_NEXT_OFFSET: value[2] = faam_regs_pkg::QUEUE_CONTROL_BLOCK_NEXT_RESET;
            faam_regs_pkg::QUEUE_CONTROL_ADMIN_SQ_LO_OFFSET: value[2] = admin_sq[31:0];
            faam_regs_pkg::QUEUE_CONTROL_ADMIN_SQ_HI_OFFSET: value[2] = admin_sq[63:32];
            faam_regs_pkg::QUEUE_CONTROL_ADMIN_CQ_LO_OFFSET: value[2] = admin_cq[31:0];
            faam_regs_pkg::QUEUE_CONTROL_ADMIN_CQ_HI_OFFSET: value[2] = admin_cq[63:32];
            faam_regs_pkg::QUEUE_CONTROL_ADMIN_QUEUE_OFFSET: value[2] = admin_queue;
            faam_regs_pkg::QUEUE_CONTROL_QUEUE_COUNT_OFFSET: value[2] = {16'd0, io_pairs};
            default: ;
        endcase
        case (word_at)
            faam_regs_pkg::ERROR_BLOCK_HEADER_OFFSET: value[3] = faam_regs_pkg::ERROR_BLOCK_HEADER_RESET;
            faam_regs_pkg::ERROR_BLOCK_NEXT_OFFSET: value[3] = faam_regs_pkg::ERROR_BLOCK_NEXT_RESET;
            faam_regs_pkg::ERROR_FIRST_OFFSET: value[3] = {11'd0, first_qid, 12'd0, first_code};
            faam_regs_pkg::ERROR_INFO_LO_OFFSET: value[3] = first_value[31:0];
            faam_regs_pkg::ERROR_INFO_HI_OFFSET: value[3] = first_value[63:32];
            faam_regs_pkg::ERROR_COUNT_OFFSET: value[3] = error_count;
            faam_regs_pkg::QUEUE_COUNTERS_BLOCK_HEADER_OFFSET: value[3] = faam_regs_pkg::QUEUE_COUNTERS_BLOCK_HEADER_RESET;
            faam_regs_pkg::QUEUE_COUNTERS_BLOCK_NEXT_OFFSET: value[3] = faam_regs_pkg::QUEUE_COUNTERS_BLOCK_NEXT_RESET;
            faam_regs_pkg::QUEUE_COUNTERS_BASE_OFFSET: value[3] = faam_regs_pkg::QUEUE_COUNTERS_BASE_RESET;
            faam_regs_pkg::QUEUE_COUNTERS_STRIDE_OFFSET: value[3] = faam_regs_pkg::QUEUE_COUNTERS_STRIDE_RESET;
            faam_regs_pkg::QUEUE_COUNTERS_QUEUES_OFFSET: value[3] = 32'(QUEUES);
            faam_regs_pkg::DOORBELLS_BLOCK_HEADER_OFFSET: value[3] = faam_regs_pkg::DOORBELLS_BLOCK_HEADER_RESET;
            // The list ends here: the farm has none of the blocks that the map has behind this one.
            faam_regs_pkg::DOORBELLS_BLOCK_NEXT_OFFSET: value[3] = '0;
            faam_regs_pkg::DOORBELLS_BASE_OFFSET: value[3] = faam_regs_pkg::DOORBELLS_BASE_RESET;
            faam_regs_pkg::DOORBELLS_STRIDE_OFFSET: value[3] = faam_regs_pkg::DOORBELLS_STRIDE_RESET;
            faam_regs_pkg::DOORBELLS_QUEUES_OFFSET: value[3] = 32'(QUEUES);
            default: ;
        endcase
    end
    logic [3:0][31:0] part;
    always_ff @(posedge clk) part <= value;

    logic writes;
    logic writes_control;
    logic writes_reset;
    assign writes         = state == DECODE && write;
    assign writes_control = writes && word_at == faam_regs_pkg::CONTROL_CONTROL_OFFSET;
    assign writes_reset   = writes && word_at == faam_regs_pkg::CONTROL_RESET_OFFSET && wdata == 32'h4652_5354;
    assign set_enable     = writes_control;
    assign set_enable_to  = wdata[0];
    assign set_reset      = writes_reset;

    always_ff @(posedge clk) begin
        if (rst || registers_reset) begin
            admin_sq    <= '0;
            admin_cq    <= '0;
            admin_queue <= faam_regs_pkg::QUEUE_CONTROL_ADMIN_QUEUE_RESET;
        end else if (writes) begin
            case (word_at)
                faam_regs_pkg::QUEUE_CONTROL_ADMIN_SQ_LO_OFFSET: admin_sq[31:0] <= wdata;
                faam_regs_pkg::QUEUE_CONTROL_ADMIN_SQ_HI_OFFSET: admin_sq[63:32] <= wdata;
                faam_regs_pkg::QUEUE_CONTROL_ADMIN_CQ_LO_OFFSET: admin_cq[31:0] <= wdata;
                faam_regs_pkg::QUEUE_CONTROL_ADMIN_CQ_HI_OFFSET: admin_cq[63:32] <= wdata;
                faam_regs_pkg::QUEUE_CONTROL_ADMIN_QUEUE_OFFSET: admin_queue <= wdata;
                default: ;
            endcase
        end
    end

    assign reg_ready     = state == WAIT;
    assign reg_rsp_valid = state == RESPOND;

    always_ff @(posedge clk) begin
        if (rst) begin
            state <= WAIT;
        end else begin
            case (state)
                WAIT:
                    if (reg_valid) begin
                        state  <= DECODE;
                        write  <= reg_write;
                        addr   <= reg_addr;
                        wdata  <= reg_wdata;
                        settle <= '0;
                    end
                DECODE: begin
                    state <= SHOW;
                    if (write && is_bell) state <= BELL;
                    else if (write && (writes_control || writes_reset)) state <= SETTLE;
                    else if (!write && is_counter) state <= exists[addr[10:6]] ? COUNTER : SHOW;
                end
                SHOW: begin
                    reg_rdata <= write ? '0 : part[0] | part[1] | part[2] | part[3];
                    state     <= RESPOND;
                end
                BELL: if (bell_ready) state <= RESPOND;
                COUNTER:
                    if (count_ready) begin
                        reg_rdata <= addr[2] ? count_value[63:32] : count_value[31:0];
                        state     <= RESPOND;
                    end
                SETTLE: begin
                    settle <= settle + 1'b1;
                    // The change shows a cycle after it was asked for.
                    if ((settle != 0 && !changing) || settle == SETTLE_CYCLES) state <= RESPOND;
                end
                default: state <= WAIT;
            endcase
        end
    end

    logic unused;
    assign unused = &{1'b0, addr[1:0], page[7:5]};
endmodule
