// What crosses the farm's own seams: entries as they lie in memory, queue shapes, jobs on their way to an engine, and the
// contract's numbers.
//
// Invariant: numbers are those of bitstreams/hwif (submission.rs, completion.rs, admin.rs, error.rs); a name here has its
// meaning there.
// It does not know how anything is done.
package faam_farm_pkg;
  /* verilator lint_off UNUSEDPARAM */
  // A submission entry, 64 bytes, first byte lowest.
  typedef struct packed {
    logic [31:0] timeout_us;
    logic [7:0] reserved;
    logic [7:0] table_mode;
    logic [7:0] level;
    logic [7:0] format;
    logic [31:0] aux_len;
    logic [31:0] hist_len;
    logic [31:0] dst_cap;
    logic [31:0] src_len;
    logic [63:0] aux;
    logic [63:0] hist;
    logic [63:0] dst;
    logic [63:0] src;
    logic [31:0] domain;  // `context` there
    logic [15:0] cid;
    logic [7:0] flags;
    logic [7:0] op;
  } entry_t;

  // A queue pair, as it was created.
  typedef struct packed {
    logic [57:0] sq;  // address / 64
    logic [57:0] cq;  // address / 64
    logic [3:0] log2;  // of its entries, 1 to 12
    logic has_irq;  // completions raise `irq`, an MSI-X vector
    logic [4:0] irq;
    logic [15:0] epoch;
  } shape_t;

  // A job that was found good, on its way to an engine.
  typedef struct packed {
    logic [4:0] qid;
    logic [31:0] fetched_us;
    entry_t entry;
  } job_record_t;

  // How a job ended, for its completion.
  typedef struct packed {
    logic [4:0] qid;
    logic [15:0] cid;
    logic [14:0] status;
    logic [31:0] info;
    logic [31:0] out_len;
    logic [31:0] in_len;
    logic [31:0] crc32;
    logic [31:0] adler32;
    logic [31:0] cycles;
    logic [3:0] error;  // error code to be noted, 0 = none
    logic [63:0] at;  // the address that it speaks of
  } ending_t;

  // Statuses (completion.rs).
  localparam logic [14:0] SUCCESS = 15'h000;
  localparam logic [14:0] INVALID_OPCODE = 15'h001;
  localparam logic [14:0] INVALID_FIELD = 15'h002;
  localparam logic [14:0] INVALID_LENGTH = 15'h003;
  localparam logic [14:0] INVALID_QUEUE = 15'h004;
  localparam logic [14:0] QUEUE_EXISTS = 15'h005;
  localparam logic [14:0] UNSUPPORTED = 15'h006;
  localparam logic [14:0] OUTPUT_FULL = 15'h100;
  localparam logic [14:0] BAD_TABLE = 15'h103;
  localparam logic [14:0] TABLE_MISS = 15'h104;
  localparam logic [14:0] DMA_READ_FAULT = 15'h200;
  localparam logic [14:0] DMA_WRITE_FAULT = 15'h201;
  localparam logic [14:0] ABORTED = 15'h202;
  localparam logic [14:0] TIMED_OUT = 15'h204;
  localparam logic [14:0] ENGINE_FAULT = 15'h205;

  // Error codes (error.rs).
  localparam logic [3:0] ERROR_NONE = 4'd0;
  localparam logic [3:0] ERROR_DOORBELL_RANGE = 4'd1;
  localparam logic [3:0] ERROR_DOORBELL_QUEUE = 4'd2;
  localparam logic [3:0] ERROR_ADMIN_QUEUE = 4'd3;
  localparam logic [3:0] ERROR_RING_ACCESS = 4'd4;
  localparam logic [3:0] ERROR_DATA_READ = 4'd5;
  localparam logic [3:0] ERROR_DATA_WRITE = 4'd6;
  localparam logic [3:0] ERROR_COMPLETION_QUEUE_FULL = 4'd7;
  localparam logic [3:0] ERROR_ENGINE = 4'd8;

  // Byte offsets of an entry's fields, as `info` names them (admin.rs).
  localparam logic [7:0] FIELD_OP = 8'h00;
  localparam logic [7:0] FIELD_FLAGS = 8'h01;
  localparam logic [7:0] FIELD_SRC = 8'h08;
  localparam logic [7:0] FIELD_DST = 8'h10;
  localparam logic [7:0] FIELD_HIST = 8'h18;
  localparam logic [7:0] FIELD_SRC_LEN = 8'h28;
  localparam logic [7:0] FIELD_DST_CAP = 8'h2C;
  localparam logic [7:0] FIELD_HIST_LEN = 8'h30;
  localparam logic [7:0] FIELD_AUX_LEN = 8'h34;
  localparam logic [7:0] FIELD_FORMAT = 8'h38;
  localparam logic [7:0] FIELD_LEVEL = 8'h39;
  localparam logic [7:0] FIELD_TABLE_MODE = 8'h3A;
  localparam logic [7:0] FIELD_RESERVED = 8'h3B;

  // Flags of an I/O entry, by bit (submission.rs).
  localparam int FLAG_FINAL = 0;
  localparam int FLAG_SYNC = 1;
  localparam int FLAG_HIST = 2;
  localparam int FLAG_TABLE = 3;

  // A queue's counters, by place (hwif/src/regs/mod.rs).
  localparam logic [2:0] COUNT_FETCHED = 3'd0;
  localparam logic [2:0] COUNT_COMPLETED = 3'd1;
  localparam logic [2:0] COUNT_FAILED = 3'd2;
  localparam logic [2:0] COUNT_BYTES_IN = 3'd3;
  localparam logic [2:0] COUNT_BYTES_OUT = 3'd4;
  localparam logic [2:0] COUNT_CYCLES = 3'd5;
  localparam logic [2:0] COUNT_KICKS = 3'd6;
  localparam logic [2:0] COUNT_INTERRUPTS = 3'd7;

  // The row of counters that is no queue's: the health page, by place (admin.rs). Place 0, the time, is the clock's.
  localparam logic [4:0] HEALTH_ROW = 5'd31;
  localparam logic [2:0] HEALTH_JOBS = 3'd1;
  localparam logic [2:0] HEALTH_JOBS_FAILED = 3'd2;
  localparam logic [2:0] HEALTH_BYTES_IN = 3'd3;
  localparam logic [2:0] HEALTH_BYTES_OUT = 3'd4;
  localparam logic [2:0] HEALTH_BUSY_CYCLES = 3'd5;
  localparam logic [2:0] HEALTH_SCRUB_CYCLES = 3'd6;
  localparam logic [2:0] HEALTH_DMA_FAULTS = 3'd7;

  // What an I/O entry asks for, once it has been looked over.
  localparam logic [1:0] WORK_REFUSED = 2'd0;
  localparam logic [1:0] WORK_NOP = 2'd1;
  localparam logic [1:0] WORK_JOB = 2'd2;

  // Admin commands, by opcode (admin.rs).
  localparam logic [7:0] OP_DELETE_QUEUE = 8'h00;
  localparam logic [7:0] OP_CREATE_QUEUE = 8'h01;
  localparam logic [7:0] OP_GET_LOG_PAGE = 8'h02;
  localparam logic [7:0] OP_IDENTIFY = 8'h06;
  localparam logic [7:0] OP_ABORT = 8'h08;
  localparam logic [7:0] OP_SET_FEATURES = 8'h09;

  // Sizes and limits (hwif/src/lib.rs, table.rs).
  localparam int JOB_BYTES_MAX = 1 << 20;
  localparam int HISTORY_BYTES_MAX = 1 << 15;
  localparam int TABLE_BYTES = 1024;
  localparam int HISTOGRAM_BYTES = 1280;
  localparam int ENTRIES_LOG2_MAX = 12;
  localparam int ERROR_LOG_ENTRIES = 16;
  localparam int JOBS_PER_ENGINE_MAX = 2;

  // Words of 64 bits in the buffer of a mover: two bursts.
  localparam int MOVER_WORDS = 32;
  // Words of the longest burst; a burst ends where its address is a multiple of its bytes, so none crosses 4 KiB.
  localparam int BURST_WORDS = 16;
endpackage
