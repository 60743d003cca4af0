//! Tables: events in, actions out.
