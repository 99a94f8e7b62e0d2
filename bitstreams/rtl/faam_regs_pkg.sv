// Generated from bitstreams/hwif/rdl/card.rdl by tools/export.py. Edit there; run `make regs`.
package faam_regs_pkg;
  localparam logic [127:0] INTERFACE_UUID = 128'h8071f5da72ef3c99690bf123bab50939;

  // IDENTITY: Who this function is. First block, always at offset 0.
  localparam logic [31:0] IDENTITY_OFFSET = 32'h00000000;
  localparam logic [31:0] IDENTITY_BLOCK_HEADER_OFFSET = 32'h00000000;
  localparam logic [31:0] IDENTITY_BLOCK_HEADER_RESET = 32'h00010001;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } identity_block_header_t;
  localparam logic [31:0] IDENTITY_BLOCK_NEXT_OFFSET = 32'h00000004;
  localparam logic [31:0] IDENTITY_BLOCK_NEXT_RESET = 32'h00000100;
  typedef struct packed {
    logic [31:0] offset;
  } identity_block_next_t;
  localparam logic [31:0] IDENTITY_MAGIC_OFFSET = 32'h00000008;
  localparam logic [31:0] IDENTITY_MAGIC_RESET = 32'h4d616146;
  typedef struct packed {
    logic [31:0] value;
  } identity_magic_t;
  localparam logic [31:0] IDENTITY_ABI_VERSION_OFFSET = 32'h0000000c;
  localparam logic [31:0] IDENTITY_ABI_VERSION_RESET = 32'h00010000;
  typedef struct packed {
    logic [15:0] major;
    logic [15:0] minor;
  } identity_abi_version_t;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_0_OFFSET = 32'h00000010;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_0_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } identity_interface_uuid_0_t;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_1_OFFSET = 32'h00000014;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_1_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } identity_interface_uuid_1_t;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_2_OFFSET = 32'h00000018;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_2_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } identity_interface_uuid_2_t;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_3_OFFSET = 32'h0000001c;
  localparam logic [31:0] IDENTITY_INTERFACE_UUID_3_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } identity_interface_uuid_3_t;
  localparam logic [31:0] IDENTITY_SERIAL_LO_OFFSET = 32'h00000020;
  localparam logic [31:0] IDENTITY_SERIAL_LO_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } identity_serial_lo_t;
  localparam logic [31:0] IDENTITY_SERIAL_HI_OFFSET = 32'h00000024;
  localparam logic [31:0] IDENTITY_SERIAL_HI_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } identity_serial_hi_t;
  localparam logic [31:0] IDENTITY_FUNCTION_OFFSET = 32'h00000028;
  localparam logic [31:0] IDENTITY_FUNCTION_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] reserved_16;
    logic [7:0] count;
    logic [7:0] index;
  } identity_function_t;
  localparam logic [31:0] IDENTITY_MODEL_OFFSET = 32'h0000002c;
  localparam logic [31:0] IDENTITY_MODEL_RESET = 32'h00000000;
  typedef struct packed {
    logic [23:0] reserved_8;
    logic [7:0] kind;
  } identity_model_t;

  // CAPABILITIES: What this function can do. Constant between resets.
  localparam logic [31:0] CAPABILITIES_OFFSET = 32'h00000100;
  localparam logic [31:0] CAPABILITIES_BLOCK_HEADER_OFFSET = 32'h00000100;
  localparam logic [31:0] CAPABILITIES_BLOCK_HEADER_RESET = 32'h00010002;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } capabilities_block_header_t;
  localparam logic [31:0] CAPABILITIES_BLOCK_NEXT_OFFSET = 32'h00000104;
  localparam logic [31:0] CAPABILITIES_BLOCK_NEXT_RESET = 32'h00000200;
  typedef struct packed {
    logic [31:0] offset;
  } capabilities_block_next_t;
  localparam logic [31:0] CAPABILITIES_FEATURES_OFFSET = 32'h00000108;
  localparam logic [31:0] CAPABILITIES_FEATURES_RESET = 32'h00000000;
  typedef struct packed {
    logic [24:0] reserved_7;
    logic [0:0] paced;
    logic [0:0] context_scrub;
    logic [0:0] abort;
    logic [0:0] decompress;
    logic [0:0] history;
    logic [0:0] loaded_tables;
    logic [0:0] shadow_doorbells;
  } capabilities_features_t;
  localparam logic [31:0] CAPABILITIES_QUEUES_OFFSET = 32'h0000010c;
  localparam logic [31:0] CAPABILITIES_QUEUES_RESET = 32'h00000000;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] entries_log2_max;
    logic [15:0] io_pairs_max;
  } capabilities_queues_t;
  localparam logic [31:0] CAPABILITIES_ENGINES_OFFSET = 32'h00000110;
  localparam logic [31:0] CAPABILITIES_ENGINES_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] reserved_16;
    logic [7:0] jobs_each_max;
    logic [7:0] count;
  } capabilities_engines_t;
  localparam logic [31:0] CAPABILITIES_JOB_BYTES_MAX_OFFSET = 32'h00000114;
  localparam logic [31:0] CAPABILITIES_JOB_BYTES_MAX_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } capabilities_job_bytes_max_t;
  localparam logic [31:0] CAPABILITIES_HISTORY_BYTES_MAX_OFFSET = 32'h00000118;
  localparam logic [31:0] CAPABILITIES_HISTORY_BYTES_MAX_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } capabilities_history_bytes_max_t;
  localparam logic [31:0] CAPABILITIES_FORMATS_OFFSET = 32'h0000011c;
  localparam logic [31:0] CAPABILITIES_FORMATS_RESET = 32'h00000000;
  typedef struct packed {
    logic [28:0] reserved_3;
    logic [0:0] gzip;
    logic [0:0] zlib;
    logic [0:0] raw;
  } capabilities_formats_t;
  localparam logic [31:0] CAPABILITIES_CLOCK_KHZ_OFFSET = 32'h00000120;
  localparam logic [31:0] CAPABILITIES_CLOCK_KHZ_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } capabilities_clock_khz_t;
  localparam logic [31:0] CAPABILITIES_VECTORS_OFFSET = 32'h00000124;
  localparam logic [31:0] CAPABILITIES_VECTORS_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] reserved_16;
    logic [15:0] count;
  } capabilities_vectors_t;
  localparam logic [31:0] CAPABILITIES_LEVELS_OFFSET = 32'h00000128;
  localparam logic [31:0] CAPABILITIES_LEVELS_RESET = 32'h00000000;
  typedef struct packed {
    logic [28:0] reserved_3;
    logic [0:0] dense;
    logic [0:0] balanced;
    logic [0:0] fast;
  } capabilities_levels_t;

  // CONTROL: Life of the function: enable, reset, and the facts that fences rest on.
  localparam logic [31:0] CONTROL_OFFSET = 32'h00000200;
  localparam logic [31:0] CONTROL_BLOCK_HEADER_OFFSET = 32'h00000200;
  localparam logic [31:0] CONTROL_BLOCK_HEADER_RESET = 32'h00010003;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } control_block_header_t;
  localparam logic [31:0] CONTROL_BLOCK_NEXT_OFFSET = 32'h00000204;
  localparam logic [31:0] CONTROL_BLOCK_NEXT_RESET = 32'h00000300;
  typedef struct packed {
    logic [31:0] offset;
  } control_block_next_t;
  localparam logic [31:0] CONTROL_CONTROL_OFFSET = 32'h00000208;
  localparam logic [31:0] CONTROL_CONTROL_RESET = 32'h00000000;
  typedef struct packed {
    logic [30:0] reserved_1;
    logic [0:0] enable;
  } control_control_t;
  localparam logic [31:0] CONTROL_STATUS_OFFSET = 32'h0000020c;
  localparam logic [31:0] CONTROL_STATUS_RESET = 32'h00000000;
  typedef struct packed {
    logic [27:0] reserved_4;
    logic [0:0] resetting;
    logic [0:0] dma_idle;
    logic [0:0] fatal;
    logic [0:0] ready;
  } control_status_t;
  localparam logic [31:0] CONTROL_RESET_OFFSET = 32'h00000210;
  localparam logic [31:0] CONTROL_RESET_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] key;
  } control_reset_t;
  localparam logic [31:0] CONTROL_RESET_EPOCH_OFFSET = 32'h00000214;
  localparam logic [31:0] CONTROL_RESET_EPOCH_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } control_reset_epoch_t;
  localparam logic [31:0] CONTROL_HEARTBEAT_OFFSET = 32'h00000218;
  localparam logic [31:0] CONTROL_HEARTBEAT_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] count;
  } control_heartbeat_t;

  // QUEUE_CONTROL: The admin queue (queue 0). I/O queues are created by commands on it. Latched when CONTROL.enable is set.
  localparam logic [31:0] QUEUE_CONTROL_OFFSET = 32'h00000300;
  localparam logic [31:0] QUEUE_CONTROL_BLOCK_HEADER_OFFSET = 32'h00000300;
  localparam logic [31:0] QUEUE_CONTROL_BLOCK_HEADER_RESET = 32'h00010004;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } queue_control_block_header_t;
  localparam logic [31:0] QUEUE_CONTROL_BLOCK_NEXT_OFFSET = 32'h00000304;
  localparam logic [31:0] QUEUE_CONTROL_BLOCK_NEXT_RESET = 32'h00000400;
  typedef struct packed {
    logic [31:0] offset;
  } queue_control_block_next_t;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_SQ_LO_OFFSET = 32'h00000308;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_SQ_LO_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } queue_control_admin_sq_lo_t;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_SQ_HI_OFFSET = 32'h0000030c;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_SQ_HI_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } queue_control_admin_sq_hi_t;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_CQ_LO_OFFSET = 32'h00000310;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_CQ_LO_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } queue_control_admin_cq_lo_t;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_CQ_HI_OFFSET = 32'h00000314;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_CQ_HI_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } queue_control_admin_cq_hi_t;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_QUEUE_OFFSET = 32'h00000318;
  localparam logic [31:0] QUEUE_CONTROL_ADMIN_QUEUE_RESET = 32'h0000ff00;
  typedef struct packed {
    logic [15:0] epoch;
    logic [7:0] vector;
    logic [7:0] entries_log2;
  } queue_control_admin_queue_t;
  localparam logic [31:0] QUEUE_CONTROL_QUEUE_COUNT_OFFSET = 32'h0000031c;
  localparam logic [31:0] QUEUE_CONTROL_QUEUE_COUNT_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] reserved_16;
    logic [15:0] io_pairs;
  } queue_control_queue_count_t;

  // ERROR: The first error since reset, and how many followed. Details are in the error log page.
  localparam logic [31:0] ERROR_OFFSET = 32'h00000400;
  localparam logic [31:0] ERROR_BLOCK_HEADER_OFFSET = 32'h00000400;
  localparam logic [31:0] ERROR_BLOCK_HEADER_RESET = 32'h00010005;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } error_block_header_t;
  localparam logic [31:0] ERROR_BLOCK_NEXT_OFFSET = 32'h00000404;
  localparam logic [31:0] ERROR_BLOCK_NEXT_RESET = 32'h00000500;
  typedef struct packed {
    logic [31:0] offset;
  } error_block_next_t;
  localparam logic [31:0] ERROR_FIRST_OFFSET = 32'h00000408;
  localparam logic [31:0] ERROR_FIRST_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] queue;
    logic [15:0] code;
  } error_first_t;
  localparam logic [31:0] ERROR_INFO_LO_OFFSET = 32'h0000040c;
  localparam logic [31:0] ERROR_INFO_LO_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } error_info_lo_t;
  localparam logic [31:0] ERROR_INFO_HI_OFFSET = 32'h00000410;
  localparam logic [31:0] ERROR_INFO_HI_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } error_info_hi_t;
  localparam logic [31:0] ERROR_COUNT_OFFSET = 32'h00000414;
  localparam logic [31:0] ERROR_COUNT_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } error_count_t;

  // QUEUE_COUNTERS: Where the per-queue counters are: BASE + queue * STRIDE, eight 64-bit counters a queue, LO first.
  localparam logic [31:0] QUEUE_COUNTERS_OFFSET = 32'h00000500;
  localparam logic [31:0] QUEUE_COUNTERS_BLOCK_HEADER_OFFSET = 32'h00000500;
  localparam logic [31:0] QUEUE_COUNTERS_BLOCK_HEADER_RESET = 32'h00010006;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } queue_counters_block_header_t;
  localparam logic [31:0] QUEUE_COUNTERS_BLOCK_NEXT_OFFSET = 32'h00000504;
  localparam logic [31:0] QUEUE_COUNTERS_BLOCK_NEXT_RESET = 32'h00000600;
  typedef struct packed {
    logic [31:0] offset;
  } queue_counters_block_next_t;
  localparam logic [31:0] QUEUE_COUNTERS_BASE_OFFSET = 32'h00000508;
  localparam logic [31:0] QUEUE_COUNTERS_BASE_RESET = 32'h00002000;
  typedef struct packed {
    logic [31:0] offset;
  } queue_counters_base_t;
  localparam logic [31:0] QUEUE_COUNTERS_STRIDE_OFFSET = 32'h0000050c;
  localparam logic [31:0] QUEUE_COUNTERS_STRIDE_RESET = 32'h00000040;
  typedef struct packed {
    logic [31:0] bytes;
  } queue_counters_stride_t;
  localparam logic [31:0] QUEUE_COUNTERS_QUEUES_OFFSET = 32'h00000510;
  localparam logic [31:0] QUEUE_COUNTERS_QUEUES_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] reserved_16;
    logic [15:0] count;
  } queue_counters_queues_t;

  // DOORBELLS: Where the doorbells are: BASE + queue * STRIDE; SQ tail at +0, CQ head at +4. Values are free-running indices. A page a queue, so that one can be handed out alone.
  localparam logic [31:0] DOORBELLS_OFFSET = 32'h00000600;
  localparam logic [31:0] DOORBELLS_BLOCK_HEADER_OFFSET = 32'h00000600;
  localparam logic [31:0] DOORBELLS_BLOCK_HEADER_RESET = 32'h00010007;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } doorbells_block_header_t;
  localparam logic [31:0] DOORBELLS_BLOCK_NEXT_OFFSET = 32'h00000604;
  localparam logic [31:0] DOORBELLS_BLOCK_NEXT_RESET = 32'h00000700;
  typedef struct packed {
    logic [31:0] offset;
  } doorbells_block_next_t;
  localparam logic [31:0] DOORBELLS_BASE_OFFSET = 32'h00000608;
  localparam logic [31:0] DOORBELLS_BASE_RESET = 32'h00010000;
  typedef struct packed {
    logic [31:0] offset;
  } doorbells_base_t;
  localparam logic [31:0] DOORBELLS_STRIDE_OFFSET = 32'h0000060c;
  localparam logic [31:0] DOORBELLS_STRIDE_RESET = 32'h00001000;
  typedef struct packed {
    logic [31:0] bytes;
  } doorbells_stride_t;
  localparam logic [31:0] DOORBELLS_QUEUES_OFFSET = 32'h00000610;
  localparam logic [31:0] DOORBELLS_QUEUES_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] reserved_16;
    logic [15:0] count;
  } doorbells_queues_t;

  // SLOTS: Reconfigurable regions of this function, each of which holds one image's kernel. A function without this block has none, and serves what its capabilities say.
  localparam logic [31:0] SLOTS_OFFSET = 32'h00000700;
  localparam logic [31:0] SLOTS_BLOCK_HEADER_OFFSET = 32'h00000700;
  localparam logic [31:0] SLOTS_BLOCK_HEADER_RESET = 32'h00010008;
  typedef struct packed {
    logic [7:0] reserved_24;
    logic [7:0] version;
    logic [15:0] block_type;
  } slots_block_header_t;
  localparam logic [31:0] SLOTS_BLOCK_NEXT_OFFSET = 32'h00000704;
  localparam logic [31:0] SLOTS_BLOCK_NEXT_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] offset;
  } slots_block_next_t;
  localparam logic [31:0] SLOTS_SLOTS_OFFSET = 32'h00000708;
  localparam logic [31:0] SLOTS_SLOTS_RESET = 32'h00000000;
  typedef struct packed {
    logic [23:0] reserved_8;
    logic [7:0] count;
  } slots_slots_t;
  localparam logic [31:0] SLOTS_IDCODE_OFFSET = 32'h0000070c;
  localparam logic [31:0] SLOTS_IDCODE_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } slots_idcode_t;
  localparam logic [31:0] SLOTS_SHELL_OFFSET = 32'h00000710;
  localparam logic [31:0] SLOTS_SHELL_RESET = 32'h00000000;
  typedef struct packed {
    logic [15:0] major;
    logic [15:0] minor;
  } slots_shell_t;
  localparam logic [31:0] SLOTS_BASE_OFFSET = 32'h00000714;
  localparam logic [31:0] SLOTS_BASE_RESET = 32'h00003000;
  typedef struct packed {
    logic [31:0] offset;
  } slots_base_t;
  localparam logic [31:0] SLOTS_STRIDE_OFFSET = 32'h00000718;
  localparam logic [31:0] SLOTS_STRIDE_RESET = 32'h00000040;
  typedef struct packed {
    logic [31:0] bytes;
  } slots_stride_t;
  localparam logic [31:0] SLOTS_IMAGE_BYTES_MAX_OFFSET = 32'h0000071c;
  localparam logic [31:0] SLOTS_IMAGE_BYTES_MAX_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] value;
  } slots_image_bytes_max_t;
  localparam logic [31:0] SLOTS_LOAD_LIMIT_OFFSET = 32'h00000720;
  localparam logic [31:0] SLOTS_LOAD_LIMIT_RESET = 32'h00000000;
  typedef struct packed {
    logic [31:0] ms;
  } slots_load_limit_t;
endpackage
