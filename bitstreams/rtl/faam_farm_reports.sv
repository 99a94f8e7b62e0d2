// What the function tells its host and keeps of itself: completions, pages, counts and notes of errors.
//
// Owns the control writer, and the one way to the counters and to the error log: the completer has them while it is busy,
// the sequencer otherwise.
// Invariant: nothing of a completion is interleaved with anything else.
// It does not know when something is told: the sequencer does.
module faam_farm_reports #(
    parameter int ENGINES = 1,
    parameter int IO_PAIRS = 16,
    parameter int QUEUES = IO_PAIRS + 1
) (
    input  logic                   clk,
    input  logic                   rst,
    // completions: ending stands until not busy
    input  logic                   complete,
    input  logic                   announce,
    input  faam_farm_pkg::ending_t ending,
    input  logic [3:0]             coalesce,
    input  logic                   forget,
    output logic                   busy,
    output logic [QUEUES-1:0]      owes,
    output logic                   load,
    input  logic                   loaded,
    input  faam_farm_pkg::shape_t  shape,
    input  logic [31:0]            fetched,
    input  logic [31:0]            completed,
    input  logic [QUEUES-1:0]      alive,
    output logic                   move_completed,
    output logic                   break_down,
    // pages
    input  logic                   page_start,
    input  faam_farm_pkg::entry_t  entry,
    output logic [8:0]             page_bytes,
    output logic                   page_busy,
    output logic                   page_fault,
    output logic [63:0]            page_fault_at,
    // the sequencer's own counts and notes, while not busy
    input  logic                   own_add,
    input  logic [4:0]             own_row,
    input  logic [2:0]             own_place,
    input  logic [31:0]            own_value,
    input  logic                   own_note,
    input  logic [3:0]             own_code,
    input  logic [4:0]             own_qid,
    input  logic [63:0]            own_at,
    // counters and errors
    output logic                   add_valid,
    input  logic                   add_ready,
    output logic [4:0]             add_row,
    output logic [2:0]             add_place,
    output logic [31:0]            add_value,
    output logic                   note_valid,
    input  logic                   note_ready,
    output logic [3:0]             note_code,
    output logic [4:0]             note_qid,
    output logic [63:0]            note_value,
    // what pages say
    input  logic [63:0]            now_ms,
    input  logic [63:0]            serial,
    input  logic [31:0]            clock_khz,
    input  logic [7:0]             number,
    output logic                   health_valid,
    input  logic                   health_ready,
    output logic [2:0]             health_place,
    input  logic [63:0]            health_value,
    output logic [3:0]             page_entry,
    output logic [1:0]             page_word,
    input  logic [63:0]            page_data,
    input  logic [4:0]             page_entries,
    // the control writer
    output logic                   writer_start,
    output logic [63:0]            writer_addr,
    output logic [31:0]            writer_room,
    output logic                   writer_flush,
    output logic                   writer_stop,
    input  logic                   writer_idle,
    input  logic                   writer_fault,
    input  logic [63:0]            writer_fault_addr,
    output logic                   writer_valid,
    input  logic                   writer_ready,
    output logic [63:0]            writer_data,
    output logic [3:0]             writer_bytes,
    // interrupts
    output logic                   raise,
    output logic [4:0]             raise_irq
);
    // Bytes of a completion before its phase word.
    localparam logic [31:0] BODY_BYTES = 32'd28;

    logic completer_add_valid;
    logic [4:0]  completer_add_row;
    logic [2:0]  completer_add_place;
    logic [31:0] completer_add_value;
    logic completer_note_valid;
    logic completer_writer_start;
    logic [63:0] completer_writer_addr;
    logic completer_writer_valid;
    logic [63:0] completer_writer_data;
    logic [3:0]  completer_writer_bytes;
    logic completer_writer_flush;
    logic completer_writer_stop;
    faam_farm_completer #(
        .QUEUES(QUEUES)
    ) completer (
        .clk           (clk),
        .rst           (rst),
        .start         (complete),
        .announce      (announce),
        .ending        (ending),
        .coalesce      (coalesce),
        .forget        (forget),
        .busy          (busy),
        .owes          (owes),
        .load          (load),
        .loaded        (loaded),
        .shape         (shape),
        .fetched       (fetched),
        .completed     (completed),
        .alive         (alive[ending.qid]),
        .move_completed(move_completed),
        .break_down    (break_down),
        .add_valid     (completer_add_valid),
        .add_ready     (add_ready && busy),
        .add_row       (completer_add_row),
        .add_place     (completer_add_place),
        .add_value     (completer_add_value),
        .note_valid    (completer_note_valid),
        .note_ready    (note_ready && busy),
        .writer_start  (completer_writer_start),
        .writer_addr   (completer_writer_addr),
        .writer_valid  (completer_writer_valid),
        .writer_ready  (writer_ready),
        .writer_data   (completer_writer_data),
        .writer_bytes  (completer_writer_bytes),
        .writer_flush  (completer_writer_flush),
        .writer_stop   (completer_writer_stop),
        .writer_idle   (writer_idle),
        .writer_fault  (writer_fault),
        .raise         (raise),
        .raise_irq     (raise_irq)
    );

    logic page_writer_start;
    logic page_writer_valid;
    logic [63:0] page_writer_data;
    logic [3:0]  page_writer_bytes;
    logic page_writer_flush;
    logic page_writer_stop;
    faam_farm_page #(
        .ENGINES (ENGINES),
        .IO_PAIRS(IO_PAIRS)
    ) page (
        .clk              (clk),
        .rst              (rst),
        .start            (page_start),
        .identify         (entry.op == faam_farm_pkg::OP_IDENTIFY),
        .health           (entry.src_len[1]),
        .room             (entry.dst_cap),
        .bytes            (page_bytes),
        .busy             (page_busy),
        .fault            (page_fault),
        .fault_at         (page_fault_at),
        .now_ms           (now_ms),
        .serial           (serial),
        .clock_khz        (clock_khz),
        .number           (number),
        .health_valid     (health_valid),
        .health_ready     (health_ready),
        .health_place     (health_place),
        .health_value     (health_value),
        .page_entry       (page_entry),
        .page_word        (page_word),
        .page_data        (page_data),
        .page_entries     (page_entries),
        .writer_start     (page_writer_start),
        .writer_valid     (page_writer_valid),
        .writer_ready     (writer_ready),
        .writer_data      (page_writer_data),
        .writer_bytes     (page_writer_bytes),
        .writer_flush     (page_writer_flush),
        .writer_stop      (page_writer_stop),
        .writer_idle      (writer_idle),
        .writer_fault     (writer_fault),
        .writer_fault_addr(writer_fault_addr)
    );

    always_comb begin
        writer_start = completer_writer_start;
        writer_addr  = completer_writer_addr;
        writer_room  = BODY_BYTES;
        writer_valid = completer_writer_valid;
        writer_data  = completer_writer_data;
        writer_bytes = completer_writer_bytes;
        writer_flush = completer_writer_flush;
        writer_stop  = completer_writer_stop;
        add_valid    = completer_add_valid;
        add_row      = completer_add_row;
        add_place    = completer_add_place;
        add_value    = completer_add_value;
        // A completion that cannot be written is a ring out of reach.
        note_valid   = completer_note_valid;
        note_code    = faam_farm_pkg::ERROR_RING_ACCESS;
        note_qid     = ending.qid;
        note_value   = writer_fault_addr;
        if (!busy) begin
            writer_start = page_writer_start;
            writer_addr  = entry.dst;
            writer_room  = entry.dst_cap;
            writer_valid = page_writer_valid;
            writer_data  = page_writer_data;
            writer_bytes = page_writer_bytes;
            writer_flush = page_writer_flush;
            writer_stop  = page_writer_stop;
            add_valid    = own_add;
            add_row      = own_row;
            add_place    = own_place;
            add_value    = own_value;
            note_valid   = own_note;
            note_code    = own_code;
            note_qid     = own_qid;
            note_value   = own_at;
        end
    end

    logic unused;
    assign unused = &{1'b0, entry};
endmodule
