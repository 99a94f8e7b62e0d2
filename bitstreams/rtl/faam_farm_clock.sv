// Time: microseconds for the limits of jobs, milliseconds since power-on for logs.
//
// Owns the division of the clock by its announced rate. Invariant: both count without drift as long as the strap tells the
// truth; below 1 MHz microseconds run slow, one a cycle at most.
// It does not know who waits.
module faam_farm_clock (
    input  logic        clk,
    input  logic        rst,
    input  logic [31:0] clock_khz,
    output logic [31:0] now_us,
    output logic [63:0] now_ms
);
    logic [31:0] part;
    logic [9:0]  part_us;
    logic [31:0] next;
    logic        tick;
    // A cycle is 1000 / clock_khz microseconds.
    assign next = part + 32'd1000;
    assign tick = next >= clock_khz;

    always_ff @(posedge clk) begin
        if (rst) begin
            part    <= '0;
            part_us <= '0;
            now_us  <= '0;
            now_ms  <= '0;
        end else begin
            part <= tick ? next - clock_khz : next;
            if (tick) begin
                now_us  <= now_us + 1'b1;
                part_us <= part_us + 1'b1;
                if (part_us == 10'd999) begin
                    part_us <= '0;
                    now_ms  <= now_ms + 1'b1;
                end
            end
        end
    end
endmodule
