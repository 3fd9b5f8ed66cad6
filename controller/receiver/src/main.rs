//! The program; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    receiver::program(std::env::args_os())
}
