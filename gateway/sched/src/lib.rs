//! Which job runs next, where: pure decisions, no I/O, no clock.
