//! The host-device contract: registers, queue entries, doorbells.
