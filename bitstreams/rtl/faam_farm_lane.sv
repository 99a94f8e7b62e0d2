// One engine with its movers, and the job that runs there.
//
// A job comes in whole and was found good before. The lane has its spans read for the engine, its output written, and holds
// an ending until that is taken.
// A job ends by its engine, by a fault of memory, by its time or by `kill`; in all but the first case the engine is reset,
// which clears it, and the movers drop what they hold. An ending is shown only when every burst of the job has its answer:
// then its memory is no longer touched.
// Invariant: an engine that goes from one context or life to another, or was reset, is told to scrub before its next job.
// Each wait has an end: the engine's is the job's time (JOB_US_MAX if the job names none), the movers' are memory's answers.
// It does not know queues, nor who is told.
module faam_farm_lane #(
    parameter int HASH_BITS = 13,
    parameter int WAYS = 4,
    parameter int TABLES = 1
) (
    input  logic                       clk,
    input  logic                       rst,
    input  logic [31:0]                now_us,
    // the job
    input  logic                       start,        // only while idle
    input  faam_farm_pkg::job_record_t start_record,
    input  logic                       kill,         // end the job with this status, if it has not ended
    input  logic [14:0]                kill_status,
    input  logic                       forget,       // a life has ended
    output logic                       idle,
    output logic                       running,
    output logic                       done,         // the ending stands until taken
    input  logic                       taken,
    output logic [4:0]                 qid,
    output logic [15:0]                cid,
    output faam_farm_pkg::ending_t     ending,
    output logic                       aborted,      // ended, or ending, by `kill`
    output logic                       scrubbed,     // the engine was told to scrub before this job
    // memory
    output logic                       ar_valid,
    input  logic                       ar_ready,
    input  logic                       ar_denied,
    output logic [63:0]                ar_addr,
    output logic [7:0]                 ar_len,
    input  logic                       r_valid,
    input  logic [63:0]                r_data,
    input  logic                       r_bad,
    output logic                       aw_valid,
    input  logic                       aw_ready,
    input  logic                       aw_denied,
    output logic [63:0]                aw_addr,
    output logic [7:0]                 aw_len,
    output logic [63:0]                w_data,
    output logic [7:0]                 w_strb,
    output logic                       w_last,
    input  logic                       w_ready,
    input  logic                       b_valid,
    input  logic                       b_bad
);
    // A job that names no time is given up after so long, microseconds.
    localparam logic [31:0] JOB_US_MAX = 32'd10_000_000;

    localparam logic [2:0] IDLE = 3'd0;
    localparam logic [2:0] OFFER = 3'd1;   // the job is offered to the engine
    localparam logic [2:0] RUN = 3'd2;
    localparam logic [2:0] REWIND = 3'd3;  // what the first attempt wrote goes out before the second begins
    localparam logic [2:0] FLUSH = 3'd4;   // the engine is done
    localparam logic [2:0] STOP = 3'd5;    // the engine is reset, the movers drain
    localparam logic [2:0] DONE = 3'd6;
    localparam logic [2:0] PREPARE = 3'd7; // is it another context?

    logic [2:0] state;
    faam_farm_pkg::job_record_t record;
    faam_farm_pkg::entry_t entry;
    assign entry = record.entry;

    // Context that the engine's memories hold.
    logic        known;
    logic [31:0] known_domain;

    faam_engine_pkg::job_t job;
    logic is_count;
    logic has_table;
    logic has_history;
    assign is_count    = entry.op == 8'h83;
    assign has_table   = entry.flags[faam_farm_pkg::FLAG_TABLE];
    assign has_history = entry.flags[faam_farm_pkg::FLAG_HIST];
    always_comb begin
        job.count        = is_count;
        job.format       = entry.format[1:0];
        job.last         = entry.flags[faam_farm_pkg::FLAG_FINAL];
        job.sync         = entry.flags[faam_farm_pkg::FLAG_SYNC];
        job.loaded_table = has_table;
        job.lazy         = 1'b1;
        job.ways         = entry.level[1:0] == 2'd0 ? 3'd1 : 3'd4;
        job.scrub        = scrubbed;
        job.src_len      = entry.src_len[20:0];
        job.hist_len     = has_history ? entry.hist_len[15:0] : 16'd0;
        job.dst_cap      = is_count ? 32'(faam_farm_pkg::HISTOGRAM_BYTES) : entry.dst_cap;
    end

    logic engine_rst;
    logic job_ready;
    logic fetch_valid;
    logic fetch_ready;
    faam_engine_pkg::span_t fetch_span;
    logic source_valid;
    logic source_ready;
    logic [63:0] source_data;
    logic [3:0]  source_bytes;
    logic result_valid;
    logic result_ready;
    logic [63:0] result_data;
    logic [3:0]  result_bytes;
    logic result_rewind;
    logic done_valid;
    faam_engine_pkg::report_t report;

    faam_engine #(
        .HASH_BITS(HASH_BITS),
        .WAYS     (WAYS),
        .LAZY     (1),
        .TABLES   (TABLES)
    ) engine (
        .clk        (clk),
        .rst        (engine_rst),
        .job_valid  (state == OFFER),
        .job_ready  (job_ready),
        .job        (job),
        .fetch_valid(fetch_valid),
        .fetch_ready(fetch_ready),
        .fetch_span (fetch_span),
        .in_valid   (source_valid),
        .in_ready   (source_ready),
        .in_data    (source_data),
        .in_bytes   (source_bytes),
        .out_valid  (result_valid),
        .out_ready  (result_ready),
        .out_data   (result_data),
        .out_bytes  (result_bytes),
        .out_rewind (result_rewind),
        .done_valid (done_valid),
        .done_ready (state == RUN),
        .report     (report)
    );

    logic        reader_start;
    logic [63:0] reader_addr;
    logic [20:0] reader_len;
    logic        reader_busy;
    logic        reader_fault;
    logic [63:0] reader_fault_addr;
    logic        stopping;
    assign stopping     = state == STOP;
    assign fetch_ready  = state == RUN && !reader_start && !reader_busy && !reader_fault;
    faam_engine_pkg::span_t span;
    always_ff @(posedge clk) begin
        reader_start <= fetch_valid && fetch_ready && !rst;
        if (fetch_ready) span <= fetch_span;
    end
    always_comb begin
        case (span)
            faam_engine_pkg::SPAN_TABLE: begin
                reader_addr = entry.aux;
                reader_len  = 21'(faam_farm_pkg::TABLE_BYTES);
            end
            faam_engine_pkg::SPAN_HISTORY: begin
                reader_addr = entry.hist;
                reader_len  = {5'd0, job.hist_len};
            end
            default: begin
                reader_addr = entry.src;
                reader_len  = entry.src_len[20:0];
            end
        endcase
    end

    faam_farm_reader reader (
        .clk       (clk),
        .rst       (rst),
        .start     (reader_start),
        .start_addr(reader_addr),
        .start_len (reader_len),
        // An engine may be done with a span before its end: what is left of it is dropped.
        .stop      (stopping || state == FLUSH),
        .busy      (reader_busy),
        .fault     (reader_fault),
        .fault_addr(reader_fault_addr),
        .out_valid (source_valid),
        .out_ready (source_ready),
        .out_data  (source_data),
        .out_bytes (source_bytes),
        .ar_valid  (ar_valid),
        .ar_ready  (ar_ready),
        .ar_denied (ar_denied),
        .ar_addr   (ar_addr),
        .ar_len    (ar_len),
        .r_valid   (r_valid),
        .r_data    (r_data),
        .r_bad     (r_bad)
    );

    logic        rewound;   // the second attempt has begun
    logic        rewinds;
    logic        writer_start;
    logic        writer_ready;
    logic        writer_idle;
    logic        writer_fault;
    logic [63:0] writer_fault_addr;
    logic        writer_overrun;
    assign rewinds      = result_valid && result_rewind && !rewound;
    assign result_ready = state == RUN && writer_ready && !rewinds;
    assign writer_start = (state == OFFER && job_ready) || (state == REWIND && writer_idle && !writer_fault);

    faam_farm_writer writer (
        .clk       (clk),
        .rst       (rst),
        .start     (writer_start),
        .start_addr(is_count ? entry.aux : entry.dst),
        .start_room(job.dst_cap),
        .flush     (state == FLUSH || state == REWIND),
        .stop      (stopping),
        .idle      (writer_idle),
        .fault     (writer_fault),
        .fault_addr(writer_fault_addr),
        .overrun   (writer_overrun),
        .in_valid  (result_valid && state == RUN && !rewinds),
        .in_ready  (writer_ready),
        .in_data   (result_data),
        .in_bytes  (result_bytes),
        .aw_valid  (aw_valid),
        .aw_ready  (aw_ready),
        .aw_denied (aw_denied),
        .aw_addr   (aw_addr),
        .aw_len    (aw_len),
        .w_data    (w_data),
        .w_strb    (w_strb),
        .w_last    (w_last),
        .w_ready   (w_ready),
        .b_valid   (b_valid),
        .b_bad     (b_bad)
    );

    // The job's time, two steps behind.
    logic [31:0] elapsed_us;
    logic [31:0] limit_us;
    logic        expired;
    always_ff @(posedge clk) begin
        elapsed_us <= now_us - record.fetched_us;
        expired    <= elapsed_us >= limit_us;
        // Not before there is a limit.
        if (rst || start || state == IDLE || state == PREPARE) expired <= 1'b0;
        if (state == IDLE || state == PREPARE) elapsed_us <= '0;
    end

    logic [14:0] status;
    logic [31:0] info;
    logic [3:0]  error;
    logic [63:0] error_at;
    logic        counts;  // the engine's report is the job's
    faam_engine_pkg::report_t kept;

    logic active;
    assign active = state == PREPARE || state == OFFER || state == RUN || state == REWIND || state == FLUSH;

    always_ff @(posedge clk) begin
        if (rst) begin
            state      <= IDLE;
            known      <= 1'b0;
            engine_rst <= 1'b1;
        end else begin
            engine_rst <= 1'b0;
            case (state)
                IDLE:
                    if (start) begin
                        state        <= PREPARE;
                        record       <= start_record;
                        rewound      <= 1'b0;
                        status       <= faam_farm_pkg::ENGINE_FAULT;
                        info         <= '0;
                        error        <= faam_farm_pkg::ERROR_NONE;
                        error_at     <= '0;
                        counts       <= 1'b0;
                    end
                PREPARE: begin
                    state        <= OFFER;
                    scrubbed     <= !known || known_domain != entry.domain;
                    known        <= 1'b1;
                    known_domain <= entry.domain;
                    limit_us     <= entry.timeout_us == 0 ? JOB_US_MAX : entry.timeout_us;
                end
                OFFER: if (job_ready) state <= RUN;
                RUN:
                    if (done_valid) begin
                        state  <= FLUSH;
                        kept   <= report;
                        counts <= 1'b1;
                        case (report.ended)
                            faam_engine_pkg::ENDED_OK: begin
                                status  <= faam_farm_pkg::SUCCESS;
                                info[0] <= report.stored;
                            end
                            faam_engine_pkg::ENDED_BAD_TABLE: begin
                                status    <= faam_farm_pkg::BAD_TABLE;
                                info[2:0] <= report.rule;
                                // The matcher was never started: what it was told to clear is still to be cleared.
                                if (scrubbed) known <= 1'b0;
                            end
                            faam_engine_pkg::ENDED_TABLE_MISS: status <= faam_farm_pkg::TABLE_MISS;
                            faam_engine_pkg::ENDED_OUTPUT_FULL: status <= faam_farm_pkg::OUTPUT_FULL;
                            default: status <= faam_farm_pkg::ENGINE_FAULT;
                        endcase
                    end else if (rewinds) begin
                        state <= REWIND;
                    end
                REWIND:
                    if (writer_idle) begin
                        state   <= RUN;
                        rewound <= 1'b1;
                    end
                FLUSH: if (writer_idle && !reader_busy && !reader_start) state <= DONE;
                STOP: begin
                    engine_rst <= 1'b1;
                    if (writer_idle && !reader_busy && !reader_start) state <= DONE;
                end
                default: if (taken) state <= IDLE;
            endcase
            // What ends a job early comes last: it has the last word.
            if (active && (reader_fault || writer_fault || writer_overrun || kill || expired)) begin
                state      <= STOP;
                engine_rst <= 1'b1;
                known      <= 1'b0;
                counts     <= 1'b0;
                info       <= '0;
                if (reader_fault) begin
                    status   <= faam_farm_pkg::DMA_READ_FAULT;
                    error    <= faam_farm_pkg::ERROR_DATA_READ;
                    error_at <= reader_fault_addr;
                end else if (writer_fault) begin
                    status   <= faam_farm_pkg::DMA_WRITE_FAULT;
                    error    <= faam_farm_pkg::ERROR_DATA_WRITE;
                    error_at <= writer_fault_addr;
                end else if (writer_overrun) begin
                    status   <= faam_farm_pkg::ENGINE_FAULT;
                    error    <= faam_farm_pkg::ERROR_ENGINE;
                    error_at <= entry.dst;
                end else if (kill) begin
                    status <= kill_status;
                end else begin
                    status <= faam_farm_pkg::TIMED_OUT;
                end
            end
            if (forget) known <= 1'b0;
        end
    end

    assign idle    = state == IDLE;
    assign running = active;
    assign done    = state == DONE;
    assign aborted = (state == STOP || state == DONE) && status == faam_farm_pkg::ABORTED;
    assign qid     = record.qid;
    assign cid     = entry.cid;
    always_comb begin
        ending.qid     = record.qid;
        ending.cid     = entry.cid;
        ending.status  = status;
        ending.info    = info;
        ending.out_len = counts ? kept.out_len : '0;
        ending.in_len  = counts ? {11'd0, kept.in_len} : '0;
        ending.crc32   = counts ? kept.crc32 : '0;
        ending.adler32 = counts ? kept.adler32 : '0;
        ending.cycles  = counts ? kept.cycles : '0;
        ending.error   = error;
        ending.at      = error_at;
    end

    logic unused;
    assign unused = &{1'b0, kept.ended, kept.rule, kept.stored, entry.domain, entry.reserved, entry.table_mode,
                      entry.aux_len, entry.level[7:2], entry.format[7:2], entry.flags[7:4], entry.src_len[31:21],
                      entry.hist_len[31:16]};
endmodule
