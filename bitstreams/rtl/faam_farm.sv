// One function of a card: ENGINES compression engines behind NVMe-like queues.
//
// Owns how the parts are joined, and the interrupts that wait for the shell. Registers and doorbells come in at one port,
// memory is reached at another (AXI4's five channels: 64-bit data, INCR, one id, answers in order, at most 16 beats a burst,
// none across 4 KiB), interrupts are asked for at a third.
// Invariants: with `bus_master` low no new request is made; a completion's phase word is written after every other byte of
// its job has its answer; what comes from memory is copied once and judged before it is used.
// It does not know PCI: configuration space, the MSI-X table and function-level reset's request are the shell's.
module faam_farm #(
    parameter int ENGINES = 1,
    parameter int IO_PAIRS = 16,
    parameter int WAYS = 4,
    parameter int HASH_BITS = 13,
    parameter int TABLES = 1
) (
    input  logic        clk,
    input  logic        rst,
    input  logic        flr,
    input  logic        bus_master,
    input  logic [7:0]  strap_function,
    input  logic [7:0]  strap_functions,
    input  logic [63:0] strap_serial,
    input  logic [31:0] strap_clock_khz,
    input  logic [7:0]  strap_model,
    input  logic [31:0] strap_epoch,
    // BAR0
    input  logic        reg_valid,
    output logic        reg_ready,
    input  logic        reg_write,
    input  logic [19:0] reg_addr,
    input  logic [31:0] reg_wdata,
    output logic        reg_rsp_valid,
    output logic [31:0] reg_rdata,
    // memory
    output logic        ar_valid,
    input  logic        ar_ready,
    output logic [63:0] ar_addr,
    output logic [7:0]  ar_len,
    input  logic        r_valid,
    output logic        r_ready,
    input  logic [63:0] r_data,
    input  logic [1:0]  r_resp,
    input  logic        r_last,
    output logic        aw_valid,
    input  logic        aw_ready,
    output logic [63:0] aw_addr,
    output logic [7:0]  aw_len,
    output logic        w_valid,
    input  logic        w_ready,
    output logic [63:0] w_data,
    output logic [7:0]  w_strb,
    output logic        w_last,
    input  logic        b_valid,
    output logic        b_ready,
    input  logic [1:0]  b_resp,
    // interrupts
    output logic        irq_valid,
    input  logic        irq_ready,
    output logic [15:0] irq_vector
);
    localparam int QUEUES = IO_PAIRS + 1;
    // Movers: one an engine, and the sequencer's own.
    localparam int MOVERS = ENGINES + 1;
    localparam int ENDING = $bits(faam_farm_pkg::ending_t);

    logic [31:0] now_us;
    logic [63:0] now_ms;
    faam_farm_clock clock (
        .clk      (clk),
        .rst      (rst),
        .clock_khz(strap_clock_khz),
        .now_us   (now_us),
        .now_ms   (now_ms)
    );

    // Life.
    logic set_enable, set_enable_to, set_reset, registers_reset, errors_clear;
    logic enable, ready, fatal, dma_idle, resetting, changing;
    logic stop, stopped, begins, begun, refused, forget, quiet, awake;
    logic [31:0] epoch;
    faam_farm_life life (
        .clk            (clk),
        .rst            (rst),
        .flr            (flr),
        .epoch_start    (strap_epoch),
        .set_enable     (set_enable),
        .set_enable_to  (set_enable_to),
        .set_reset      (set_reset),
        .registers_reset(registers_reset),
        .errors_clear   (errors_clear),
        .enable         (enable),
        .ready          (ready),
        .fatal          (fatal),
        .dma_idle       (dma_idle),
        .resetting      (resetting),
        .changing       (changing),
        .epoch          (epoch),
        .stop           (stop),
        .stopped        (stopped),
        .begins         (begins),
        .begun          (begun),
        .refused        (refused)
    );

    // Registers.
    logic [63:0] admin_sq, admin_cq;
    logic [31:0] admin_queue;
    logic [QUEUES-1:0] exists, alive, look, head_moved;
    logic [15:0] io_pairs;
    logic bell_valid, bell_ready, bell_head, bell_none;
    logic [4:0] bell_qid;
    logic [31:0] bell_value;
    logic count_valid, count_ready, counters_ready;
    logic [7:0] count_at, counters_at;
    logic [63:0] count_value;
    logic [3:0] first_code;
    logic [4:0] first_qid;
    logic [63:0] first_value;
    logic [31:0] error_count;
    faam_farm_regs #(
        .ENGINES (ENGINES),
        .IO_PAIRS(IO_PAIRS),
        .WAYS    (WAYS),
        .TABLES  (TABLES)
    ) regs (
        .clk            (clk),
        .rst            (rst),
        .reg_valid      (reg_valid),
        .reg_ready      (reg_ready),
        .reg_write      (reg_write),
        .reg_addr       (reg_addr),
        .reg_wdata      (reg_wdata),
        .reg_rsp_valid  (reg_rsp_valid),
        .reg_rdata      (reg_rdata),
        .strap_function (strap_function),
        .strap_functions(strap_functions),
        .strap_serial   (strap_serial),
        .strap_clock_khz(strap_clock_khz),
        .strap_model    (strap_model),
        .set_enable     (set_enable),
        .set_enable_to  (set_enable_to),
        .set_reset      (set_reset),
        .registers_reset(registers_reset),
        .enable         (enable),
        .ready          (ready),
        .fatal          (fatal),
        .dma_idle       (dma_idle),
        .resetting      (resetting),
        .changing       (changing),
        .epoch          (epoch),
        .awake          (awake),
        .admin_sq       (admin_sq),
        .admin_cq       (admin_cq),
        .admin_queue    (admin_queue),
        .exists         (exists),
        .io_pairs       (io_pairs),
        .bell_valid     (bell_valid),
        .bell_ready     (bell_ready),
        .bell_qid       (bell_qid),
        .bell_head      (bell_head),
        .bell_none      (bell_none),
        .bell_value     (bell_value),
        .count_valid    (count_valid),
        .count_ready    (count_ready),
        .count_at       (count_at),
        .count_value    (count_value),
        .first_code     (first_code),
        .first_qid      (first_qid),
        .first_value    (first_value),
        .error_count    (error_count)
    );

    // Queues.
    logic kick_valid, kick_ready;
    logic [4:0] kick_qid;
    logic bell_note_valid, bell_note_ready;
    logic [3:0] bell_note_code;
    logic [4:0] bell_note_qid;
    logic [31:0] bell_note_value;
    logic load, loaded, move_fetched, move_completed, create, created;
    logic [4:0] load_qid, create_qid;
    faam_farm_pkg::shape_t shape, create_shape;
    logic [31:0] tail, head, fetched, completed;
    logic [QUEUES-1:0] look_clear, look_set, drop, break_down;
    faam_farm_queues #(
        .QUEUES(QUEUES)
    ) queues (
        .clk           (clk),
        .rst           (rst),
        .bell_valid    (bell_valid),
        .bell_ready    (bell_ready),
        .bell_qid      (bell_qid),
        .bell_head     (bell_head),
        .bell_none     (bell_none),
        .bell_value    (bell_value),
        .kick_valid    (kick_valid),
        .kick_ready    (kick_ready),
        .kick_qid      (kick_qid),
        .note_valid    (bell_note_valid),
        .note_ready    (bell_note_ready),
        .note_code     (bell_note_code),
        .note_qid      (bell_note_qid),
        .note_value    (bell_note_value),
        .exists        (exists),
        .alive         (alive),
        .look          (look),
        .io_pairs      (io_pairs),
        .head_moved    (head_moved),
        .load          (load),
        .load_qid      (load_qid),
        .loaded        (loaded),
        .shape         (shape),
        .tail          (tail),
        .head          (head),
        .fetched       (fetched),
        .completed     (completed),
        .move_fetched  (move_fetched),
        .move_completed(move_completed),
        .look_clear    (look_clear),
        .look_set      (look_set),
        .create        (create),
        .create_qid    (create_qid),
        .create_shape  (create_shape),
        .created       (created),
        .drop          (drop),
        .break_down    (break_down)
    );

    // Counters and errors.
    logic add_valid, add_ready, clear_valid, clear_ready, health_valid, health_ready;
    logic [4:0] add_row, clear_row;
    logic [2:0] add_place, health_place;
    logic [31:0] add_value;
    logic note_valid, note_ready;
    logic [3:0] note_code, page_entry;
    logic [4:0] note_qid, page_entries;
    logic [63:0] note_value, page_data;
    logic [1:0] page_word;
    // The health page and the registers share one way to read: who is served is fixed before the reading begins.
    logic reading;
    logic for_health;
    assign counters_at  = for_health ? {faam_farm_pkg::HEALTH_ROW, health_place} : count_at;
    assign health_ready = counters_ready && for_health;
    assign count_ready  = counters_ready && !for_health;
    always_ff @(posedge clk) begin
        if (rst || counters_ready) begin
            reading <= 1'b0;
        end else if (!reading) begin
            reading    <= health_valid || count_valid;
            for_health <= health_valid;
        end
    end
    faam_farm_counters counters (
        .clk        (clk),
        .rst        (rst),
        .add_valid  (add_valid),
        .add_ready  (add_ready),
        .add_row    (add_row),
        .add_place  (add_place),
        .add_value  (add_value),
        .kick_valid (kick_valid),
        .kick_ready (kick_ready),
        .kick_row   (kick_qid),
        .clear_valid(clear_valid),
        .clear_ready(clear_ready),
        .clear_row  (clear_row),
        .read_valid (reading),
        .read_ready (counters_ready),
        .read_at    (counters_at),
        .read_value (count_value)
    );
    faam_farm_errors errors (
        .clk         (clk),
        .rst         (rst),
        .clear       (errors_clear),
        .now_ms      (now_ms),
        .bell_valid  (bell_note_valid),
        .bell_ready  (bell_note_ready),
        .bell_code   (bell_note_code),
        .bell_qid    (bell_note_qid),
        .bell_value  (bell_note_value),
        .note_valid  (note_valid),
        .note_ready  (note_ready),
        .note_code   (note_code),
        .note_qid    (note_qid),
        .note_value  (note_value),
        .first_code  (first_code),
        .first_qid   (first_qid),
        .first_value (first_value),
        .count       (error_count),
        .page_entry  (page_entry),
        .page_word   (page_word),
        .page_data   (page_data),
        .page_entries(page_entries)
    );

    // The memory port.
    logic [MOVERS-1:0] read_valid, read_ready, answer_valid;
    logic [MOVERS-1:0] write_valid, write_ready, write_last, write_taken, written_valid;
    logic read_denied, answer_bad, write_denied, written_bad;
    logic [MOVERS-1:0][63:0] read_addr, write_addr, write_data;
    logic [MOVERS-1:0][7:0] read_len, write_len, write_strb;
    logic [63:0] answer_data;
    faam_farm_arbiter #(
        .MOVERS(MOVERS)
    ) arbiter (
        .clk          (clk),
        .rst          (rst),
        .bus_master   (bus_master),
        .quiet        (quiet),
        .read_valid   (read_valid),
        .read_ready   (read_ready),
        .read_denied  (read_denied),
        .read_addr    (read_addr),
        .read_len     (read_len),
        .answer_valid (answer_valid),
        .answer_data  (answer_data),
        .answer_bad   (answer_bad),
        .write_valid  (write_valid),
        .write_ready  (write_ready),
        .write_denied (write_denied),
        .write_addr   (write_addr),
        .write_len    (write_len),
        .write_data   (write_data),
        .write_strb   (write_strb),
        .write_last   (write_last),
        .write_taken  (write_taken),
        .written_valid(written_valid),
        .written_bad  (written_bad),
        .ar_valid     (ar_valid),
        .ar_ready     (ar_ready),
        .ar_addr      (ar_addr),
        .ar_len       (ar_len),
        .r_valid      (r_valid),
        .r_ready      (r_ready),
        .r_data       (r_data),
        .r_resp       (r_resp),
        .r_last       (r_last),
        .aw_valid     (aw_valid),
        .aw_ready     (aw_ready),
        .aw_addr      (aw_addr),
        .aw_len       (aw_len),
        .w_valid      (w_valid),
        .w_ready      (w_ready),
        .w_data       (w_data),
        .w_strb       (w_strb),
        .w_last       (w_last),
        .b_valid      (b_valid),
        .b_ready      (b_ready),
        .b_resp       (b_resp)
    );

    // Engines.
    logic [ENGINES-1:0] lane_start, lane_kill, lane_idle, lane_running, lane_done, lane_aborted, lane_taken, lane_scrubbed;
    logic [14:0] lane_kill_status;
    logic [ENGINES-1:0][4:0] lane_qid;
    logic [ENGINES-1:0][15:0] lane_cid;
    logic [ENGINES-1:0][ENDING-1:0] lane_ending;
    faam_farm_pkg::job_record_t lane_record;
    for (genvar i = 0; i < ENGINES; i++) begin : gen_lanes
        faam_farm_lane #(
            .HASH_BITS(HASH_BITS),
            .WAYS     (WAYS),
            .TABLES   (TABLES)
        ) lane (
            .clk         (clk),
            .rst         (rst),
            .now_us      (now_us),
            .start       (lane_start[i]),
            .start_record(lane_record),
            .kill        (lane_kill[i]),
            .kill_status (lane_kill_status),
            .forget      (forget),
            .idle        (lane_idle[i]),
            .running     (lane_running[i]),
            .done        (lane_done[i]),
            .aborted     (lane_aborted[i]),
            .taken       (lane_taken[i]),
            .qid         (lane_qid[i]),
            .cid         (lane_cid[i]),
            .ending      (lane_ending[i]),
            .scrubbed    (lane_scrubbed[i]),
            .ar_valid    (read_valid[i]),
            .ar_ready    (read_ready[i]),
            .ar_denied   (read_denied),
            .ar_addr     (read_addr[i]),
            .ar_len      (read_len[i]),
            .r_valid     (answer_valid[i]),
            .r_data      (answer_data),
            .r_bad       (answer_bad),
            .aw_valid    (write_valid[i]),
            .aw_ready    (write_ready[i]),
            .aw_denied   (write_denied),
            .aw_addr     (write_addr[i]),
            .aw_len      (write_len[i]),
            .w_data      (write_data[i]),
            .w_strb      (write_strb[i]),
            .w_last      (write_last[i]),
            .w_ready     (write_taken[i]),
            .b_valid     (written_valid[i]),
            .b_bad       (written_bad)
        );
    end

    // The sequencer and its movers.
    localparam int OWN = ENGINES;
    logic reader_start, reader_stop, reader_busy, reader_fault, reader_valid, reader_ready;
    logic [63:0] reader_addr, reader_fault_addr, reader_data;
    logic [3:0] reader_bytes;
    logic writer_start, writer_flush, writer_stop, writer_idle, writer_fault, writer_overrun, writer_valid, writer_ready;
    logic [63:0] writer_addr, writer_fault_addr, writer_data;
    logic [31:0] writer_room;
    logic [3:0] writer_bytes;
    logic raise;
    logic [4:0] raise_irq;
    logic complete, announce, reports_busy, completer_load, completer_break_down;
    logic own_add, own_note, page_start, page_busy, page_fault;
    logic [4:0] own_row, own_qid;
    logic [2:0] own_place;
    logic [31:0] own_value;
    logic [3:0] own_code, coalesce;
    logic [63:0] own_at, page_fault_at;
    logic [8:0] page_bytes;
    logic [QUEUES-1:0] owes;
    faam_farm_pkg::ending_t ending;
    faam_farm_pkg::entry_t entry;
    faam_farm_reader reader (
        .clk       (clk),
        .rst       (rst),
        .start     (reader_start),
        .start_addr(reader_addr),
        .start_len (21'd64),
        .stop      (reader_stop),
        .busy      (reader_busy),
        .fault     (reader_fault),
        .fault_addr(reader_fault_addr),
        .out_valid (reader_valid),
        .out_ready (reader_ready),
        .out_data  (reader_data),
        .out_bytes (reader_bytes),
        .ar_valid  (read_valid[OWN]),
        .ar_ready  (read_ready[OWN]),
        .ar_denied (read_denied),
        .ar_addr   (read_addr[OWN]),
        .ar_len    (read_len[OWN]),
        .r_valid   (answer_valid[OWN]),
        .r_data    (answer_data),
        .r_bad     (answer_bad)
    );
    faam_farm_writer writer (
        .clk       (clk),
        .rst       (rst),
        .start     (writer_start),
        .start_addr(writer_addr),
        .start_room(writer_room),
        .flush     (writer_flush),
        .stop      (writer_stop),
        .idle      (writer_idle),
        .fault     (writer_fault),
        .fault_addr(writer_fault_addr),
        .overrun   (writer_overrun),
        .in_valid  (writer_valid),
        .in_ready  (writer_ready),
        .in_data   (writer_data),
        .in_bytes  (writer_bytes),
        .aw_valid  (write_valid[OWN]),
        .aw_ready  (write_ready[OWN]),
        .aw_denied (write_denied),
        .aw_addr   (write_addr[OWN]),
        .aw_len    (write_len[OWN]),
        .w_data    (write_data[OWN]),
        .w_strb    (write_strb[OWN]),
        .w_last    (write_last[OWN]),
        .w_ready   (write_taken[OWN]),
        .b_valid   (written_valid[OWN]),
        .b_bad     (written_bad)
    );
    faam_farm_sequencer #(
        .ENGINES  (ENGINES),
        .IO_PAIRS (IO_PAIRS),
        .WAYS     (WAYS),
        .HASH_BITS(HASH_BITS),
        .TABLES   (TABLES)
    ) sequencer (
        .clk              (clk),
        .rst              (rst),
        .now_us           (now_us),
        .now_ms           (now_ms),
        .awake            (awake),
        .stop             (stop),
        .stopped          (stopped),
        .begins           (begins),
        .begun            (begun),
        .refused          (refused),
        .admin_sq         (admin_sq),
        .admin_cq         (admin_cq),
        .admin_queue      (admin_queue),
        .ready            (ready),
        .forget           (forget),
        .quiet            (quiet),
        .exists           (exists),
        .alive            (alive),
        .look             (look),
        .head_moved       (head_moved),
        .load             (load),
        .load_qid         (load_qid),
        .loaded           (loaded),
        .shape            (shape),
        .tail             (tail),
        .head             (head),
        .fetched          (fetched),
        .completed        (completed),
        .move_fetched     (move_fetched),
        .look_clear       (look_clear),
        .look_set         (look_set),
        .create           (create),
        .create_qid       (create_qid),
        .create_shape     (create_shape),
        .created          (created),
        .drop             (drop),
        .break_down       (break_down),
        .own_add          (own_add),
        .add_ready        (add_ready),
        .own_row          (own_row),
        .own_place        (own_place),
        .own_value        (own_value),
        .own_note         (own_note),
        .note_ready       (note_ready),
        .own_code         (own_code),
        .own_qid          (own_qid),
        .own_at           (own_at),
        .clear_valid      (clear_valid),
        .clear_ready      (clear_ready),
        .clear_row        (clear_row),
        .complete         (complete),
        .announce         (announce),
        .ending           (ending),
        .coalesce         (coalesce),
        .busy             (reports_busy),
        .owes             (owes),
        .completer_load   (completer_load),
        .completer_break_down(completer_break_down),
        .page_start       (page_start),
        .entry            (entry),
        .page_bytes       (page_bytes),
        .page_busy        (page_busy),
        .page_fault       (page_fault),
        .page_fault_at    (page_fault_at),
        .lane_start       (lane_start),
        .lane_record      (lane_record),
        .lane_kill        (lane_kill),
        .lane_kill_status (lane_kill_status),
        .lane_idle        (lane_idle),
        .lane_running     (lane_running),
        .lane_done        (lane_done),
        .lane_aborted     (lane_aborted),
        .lane_taken       (lane_taken),
        .lane_qid         (lane_qid),
        .lane_cid         (lane_cid),
        .lane_ending      (lane_ending),
        .lane_scrubbed    (lane_scrubbed),
        .reader_start     (reader_start),
        .reader_addr      (reader_addr),
        .reader_stop      (reader_stop),
        .reader_busy      (reader_busy),
        .reader_fault     (reader_fault),
        .reader_fault_addr(reader_fault_addr),
        .reader_valid     (reader_valid),
        .reader_ready     (reader_ready),
        .reader_data      (reader_data)
    );

    faam_farm_reports #(
        .ENGINES (ENGINES),
        .IO_PAIRS(IO_PAIRS)
    ) reports (
        .clk              (clk),
        .rst              (rst),
        .complete         (complete),
        .announce         (announce),
        .ending           (ending),
        .coalesce         (coalesce),
        .forget           (forget),
        .busy             (reports_busy),
        .owes             (owes),
        .load             (completer_load),
        .loaded           (loaded),
        .shape            (shape),
        .fetched          (fetched),
        .completed        (completed),
        .alive            (alive),
        .move_completed   (move_completed),
        .break_down       (completer_break_down),
        .page_start       (page_start),
        .entry            (entry),
        .page_bytes       (page_bytes),
        .page_busy        (page_busy),
        .page_fault       (page_fault),
        .page_fault_at    (page_fault_at),
        .own_add          (own_add),
        .own_row          (own_row),
        .own_place        (own_place),
        .own_value        (own_value),
        .own_note         (own_note),
        .own_code         (own_code),
        .own_qid          (own_qid),
        .own_at           (own_at),
        .add_valid        (add_valid),
        .add_ready        (add_ready),
        .add_row          (add_row),
        .add_place        (add_place),
        .add_value        (add_value),
        .note_valid       (note_valid),
        .note_ready       (note_ready),
        .note_code        (note_code),
        .note_qid         (note_qid),
        .note_value       (note_value),
        .now_ms           (now_ms),
        .serial           (strap_serial),
        .clock_khz        (strap_clock_khz),
        .number           (strap_function),
        .health_valid     (health_valid),
        .health_ready     (health_ready),
        .health_place     (health_place),
        .health_value     (count_value),
        .page_entry       (page_entry),
        .page_word        (page_word),
        .page_data        (page_data),
        .page_entries     (page_entries),
        .writer_start     (writer_start),
        .writer_addr      (writer_addr),
        .writer_room      (writer_room),
        .writer_flush     (writer_flush),
        .writer_stop      (writer_stop),
        .writer_idle      (writer_idle),
        .writer_fault     (writer_fault),
        .writer_fault_addr(writer_fault_addr),
        .writer_valid     (writer_valid),
        .writer_ready     (writer_ready),
        .writer_data      (writer_data),
        .writer_bytes     (writer_bytes),
        .raise            (raise),
        .raise_irq        (raise_irq)
    );

    faam_farm_irqs #(
        .VECTORS(QUEUES)
    ) irqs (
        .clk       (clk),
        .rst       (rst),
        .forget    (forget),
        .raise     (raise),
        .raise_irq (raise_irq),
        .irq_valid (irq_valid),
        .irq_ready (irq_ready),
        .irq_vector(irq_vector)
    );

    logic unused;
    assign unused = &{1'b0, reader_bytes, writer_overrun};
endmodule
