// What the engine's control tells its coder: one operation a cycle.
//
// Invariant: no operation puts out more than 28 bits (15 of a code, 13 extra ones), so a match is two operations.
package faam_encode_pkg;
    typedef enum logic [2:0] {
        OP_BITS,      // the low `count` bits of `value`, which has no others
        OP_SYMBOL,    // the code of literal/length symbol `value`
        OP_LENGTH,    // the code and extra bits of match length `value`
        OP_DISTANCE,  // the code and extra bits of distance `value`
        OP_ALIGN,     // zero bits up to a byte boundary
        OP_FLUSH      // what is left, in a beat of its own; the output is aligned
    } op_kind_t;

    typedef struct packed {
        op_kind_t kind;
        logic [3:0] count;
        logic [14:0] value;
    } op_t;
endpackage
