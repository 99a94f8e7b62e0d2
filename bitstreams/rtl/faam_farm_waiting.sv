// Jobs that wait for an engine: one place an engine, served in the order of their coming.
//
// Records lie in RAM, a word of 64 bits at a time; what is searched for (queue, id, time) in registers. A place whose job
// was taken out stays used until its turn, and is skipped then.
// Invariant: at most PLACES jobs wait, so that no more than JOBS_PER_ENGINE_MAX an engine are fetched and not completed.
// It does not know what a job asks for.
module faam_farm_waiting #(
    parameter int PLACES = 1
) (
    input  logic              clk,
    input  logic              rst,
    input  logic [31:0]       now_us,
    // a record goes in: ten words, of which the last ends it
    input  logic              put,
    input  logic [3:0]        put_word,
    input  logic [63:0]       put_data,
    input  logic              put_end,
    input  logic [4:0]        put_qid,
    input  logic [15:0]       put_cid,
    input  logic [31:0]       put_fetched_us,
    input  logic [31:0]       put_timeout_us,
    output logic              room,
    // the oldest comes out: words by number, one cycle later
    output logic              any,
    output logic              stale,       // the oldest was taken out: skip it
    input  logic [3:0]        get_word,
    output logic [63:0]       get_data,
    input  logic              next,        // done with the oldest
    // taking out
    input  logic              drop_all,
    input  logic              drop_queue,
    input  logic [4:0]        drop_qid,
    input  logic              take,        // the one of this queue and id, if it is there
    input  logic [4:0]        take_qid,
    input  logic [15:0]       take_cid,
    output logic              take_hit,
    output logic              expired,     // this one's time is over; it is out when `expire` comes
    output logic [4:0]        expired_qid,
    output logic [15:0]       expired_cid,
    input  logic              expire
);
    localparam int P = PLACES == 1 ? 1 : $clog2(PLACES);

    logic [63:0] words[16*(1<<P)];
    logic [PLACES-1:0]       valid;
    logic [PLACES-1:0][4:0]  qid;
    logic [PLACES-1:0][15:0] cid;
    logic [PLACES-1:0][31:0] fetched_us;
    logic [PLACES-1:0][31:0] timeout_us;
    logic [P-1:0] first;
    logic [P-1:0] last;
    logic [P:0]   used;

    always_ff @(posedge clk) begin
        if (put) words[{last, put_word}] <= put_data;
        get_data <= words[{first, get_word}];
    end

    function automatic logic [P-1:0] after(input logic [P-1:0] place);
        after = place == P'(PLACES - 1) ? '0 : place + 1'b1;
    endfunction

    logic [PLACES-1:0] hit;
    // A cycle behind; who takes has named it for many.
    always_ff @(posedge clk) begin
        for (int i = 0; i < PLACES; i++) hit[i] <= valid[i] && qid[i] == take_qid && cid[i] == take_cid;
    end
    assign take_hit = hit != 0;

    // One place a cycle is looked at, two steps behind.
    logic [P-1:0] look;
    logic [P-1:0] aged;
    logic         aged_valid;
    logic [31:0]  age_us;
    logic [31:0]  limit_us;
    logic [P-1:0] judged;
    logic         over;
    always_ff @(posedge clk) begin
        if (rst) begin
            look       <= '0;
            aged       <= '0;
            judged     <= '0;
            aged_valid <= 1'b0;
            over       <= 1'b0;
        end else begin
            look       <= after(look);
            aged       <= look;
            aged_valid <= valid[look];
            if (!expired) begin
                judged <= aged;
                over   <= limit_us != 0 && age_us >= limit_us && aged_valid && valid[aged];
            end
            if (expire || put_end) over <= 1'b0;
        end
        age_us   <= now_us - fetched_us[look];
        limit_us <= timeout_us[look];
    end
    assign expired     = over && valid[judged];
    assign expired_qid = qid[judged];
    assign expired_cid = cid[judged];

    always_ff @(posedge clk) begin
        if (rst || drop_all) begin
            valid <= '0;
            first <= '0;
            last  <= '0;
            used  <= '0;
        end else begin
            used <= used + (P + 1)'(put_end) - (P + 1)'(next);
            for (int i = 0; i < PLACES; i++) begin
                if (drop_queue && qid[i] == drop_qid) valid[i] <= 1'b0;
                if (take && hit[i]) valid[i] <= 1'b0;
            end
            if (expire) valid[judged] <= 1'b0;
            if (next) begin
                valid[first] <= 1'b0;
                first        <= after(first);
            end
            if (put_end) begin
                valid[last]      <= 1'b1;
                qid[last]        <= put_qid;
                cid[last]        <= put_cid;
                fetched_us[last] <= put_fetched_us;
                timeout_us[last] <= put_timeout_us;
                last             <= after(last);
            end
        end
    end

    assign room  = used != (P + 1)'(PLACES);
    assign any   = used != 0;
    assign stale = !valid[first];
endmodule
