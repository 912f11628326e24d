//! The command line: parse, run, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    storm_index::cli::main()
}
