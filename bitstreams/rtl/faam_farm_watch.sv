// What becomes due without a doorbell: interrupts that were held back to be coalesced, and the error of a completion queue
// that stays full.
//
// Invariants: an interrupt that is owed becomes due within two periods of 2^COALESCE_US_LOG2 microseconds; a queue that has
// been full for one to two periods of 2^FULL_MS_LOG2 milliseconds becomes due once, until its host makes room.
// It does not know what is done about it.
module faam_farm_watch #(
    parameter int QUEUES = 17
) (
    input  logic              clk,
    input  logic              rst,
    input  logic [31:0]       now_us,
    input  logic [63:0]       now_ms,
    input  logic [QUEUES-1:0] exists,
    input  logic [QUEUES-1:0] owes,
    output logic [QUEUES-1:0] announce_due,
    input  logic [QUEUES-1:0] set_full,    // pulses: entries wait, and there is no room for a completion
    input  logic [QUEUES-1:0] head_moved,  // pulses: there may be room
    input  logic [QUEUES-1:0] full_noted,  // pulses: the error was noted
    output logic [QUEUES-1:0] full_due
);
    localparam int COALESCE_US_LOG2 = 6;
    localparam int FULL_MS_LOG2 = 10;

    logic us_old;
    logic ms_old;
    logic us_tick;
    logic ms_tick;
    assign us_tick = now_us[COALESCE_US_LOG2] != us_old;
    assign ms_tick = now_ms[FULL_MS_LOG2] != ms_old;

    logic [QUEUES-1:0] full;
    logic [QUEUES-1:0] seen;   // full at the last tick already
    logic [QUEUES-1:0] noted;
    always_ff @(posedge clk) begin
        us_old <= now_us[COALESCE_US_LOG2];
        ms_old <= now_ms[FULL_MS_LOG2];
        if (rst) begin
            announce_due <= '0;
            full         <= '0;
            seen         <= '0;
            noted        <= '0;
            full_due     <= '0;
        end else begin
            announce_due <= (us_tick ? owes : announce_due) & owes;
            full         <= (full | set_full) & ~head_moved & exists;
            seen         <= (ms_tick ? full : seen) & full & ~head_moved;
            noted        <= (noted | full_noted) & full;
            full_due     <= (full_due | (ms_tick ? full & seen : '0)) & full & ~noted & ~full_noted;
        end
    end

    logic unused;
    assign unused = &{1'b0, now_us, now_ms};
endmodule
