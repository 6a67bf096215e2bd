//! One test binary: the event log in a folder, and the lines of files.

mod embedded;
mod kill;
mod lines;
